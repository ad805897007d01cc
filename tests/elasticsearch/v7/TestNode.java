import dgt.Languages;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** A single Elasticsearch 7.17 node that answers HTTP on 127.0.0.1. Arguments: its folder, its port. */
public final class TestNode extends Node {

    private TestNode(Settings settings) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "test"),
            List.of(Netty4Plugin.class, Languages.class),
            true);
    }

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", arguments[0])
            .put("http.port", arguments[1])
            .put("transport.port", "0")
            .put("network.host", "127.0.0.1")
            .put("cluster.name", "test")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        new TestNode(settings).start();
        while (System.in.read() >= 0) {
            // whoever started the node holds the other end of its input: the node ends when they do
        }
        System.exit(0);
    }
}
