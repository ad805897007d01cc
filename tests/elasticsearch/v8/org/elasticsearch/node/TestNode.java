package org.elasticsearch.node;

import dgt.Languages;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.GivenPlugins;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;
import org.elasticsearch.transport.netty4.Netty4Plugin;

/** A single Elasticsearch 8 or 9 node that answers HTTP on 127.0.0.1. Arguments: its folder, its port. */
public final class TestNode extends Node {

    /** The services of a node, with plugins that are given and not searched for in folders. */
    private static final class Services extends NodeServiceProvider {
        @Override
        PluginsService newPluginService(Environment environment, PluginsLoader loader) {
            return new GivenPlugins(environment, List.of(Netty4Plugin.class, Languages.class));
        }
    }

    private TestNode(Environment environment) {
        super(NodeConstruction.prepareConstruction(environment, GivenPlugins.none(), new Services(), true));
    }

    public static void main(String[] arguments) throws Exception {
        LogConfigurator.configureESLogging();
        Settings settings = Settings.builder()
            .put("path.home", arguments[0])
            .put("http.port", arguments[1])
            .put("transport.port", "0")
            .put("network.host", "127.0.0.1")
            .put("cluster.name", "test")
            .put("node.name", "test")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "test");
        new TestNode(environment).start();
        while (System.in.read() >= 0) {
            // whoever started the node holds the other end of its input: the node ends when they do
        }
        System.exit(0);
    }
}
