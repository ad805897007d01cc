package org.elasticsearch.plugins;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.Version;
import org.elasticsearch.env.Environment;

/** Plugins given as classes, where a distribution finds them in its folders. */
public final class GivenPlugins extends PluginsService {
    private final List<LoadedPlugin> given = new ArrayList<>();

    public GivenPlugins(Environment environment, List<Class<? extends Plugin>> classes) {
        super(environment.settings(), environment.configDir(), none());
        for (Class<? extends Plugin> type : classes) {
            Plugin plugin = loadPlugin(type, environment.settings(), environment.configDir());
            given.add(new LoadedPlugin(describe(type), plugin, type.getClassLoader()));
        }
    }

    public static PluginsLoader none() {
        return new PluginsLoader(Set.of(), Set.of(), Map.of());
    }

    @Override
    protected List<LoadedPlugin> plugins() {
        return given;
    }

    /** Written and read as a properties file, since the constructor is another one in each generation. */
    private static PluginDescriptor describe(Class<?> type) {
        String properties = """
            name=%s
            description=given as a class
            version=1
            elasticsearch.version=%s
            java.version=17
            classname=%s
            """.formatted(type.getSimpleName(), Version.CURRENT, type.getName());
        try {
            var bytes = new ByteArrayInputStream(properties.getBytes(StandardCharsets.UTF_8));
            return PluginDescriptor.readInternalDescriptorFromStream(bytes);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
