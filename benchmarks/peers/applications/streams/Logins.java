import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.util.ByteArrayBuilder;
import java.io.FileReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** The login pipeline on Kafka Streams. Arguments: a properties file, the topic to read, the topic to write. */
public final class Logins {
    private static final String[] FIELDS = {
        "user_id", "app_version", "device_type", "ip", "locale", "device_id", "timestamp"};
    private static final String[] ABSENT = {
        "missing_user_id", "x.x", "missing_device_type", "missing_ip", "missing_locale",
        "missing_device_id", "missing_timestamp"};
    private static final int LOCALE = 4;
    private static final int TIMESTAMP = 6;
    private static final Map<String, Integer> PLACES = new HashMap<>();
    private static final Map<String, String> REGIONS = new HashMap<>();
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss");
    private static final int MOST_MOMENTS = 8192;
    // Jackson's streaming interface: the quickest way through it, no tree and no reflection.
    private static final JsonFactory JSON = new JsonFactory();

    private record Moment(String text, int period) {}

    // One thread's own: logins of one second stand together, so that remembering a second pays.
    private static final ThreadLocal<Map<Long, Moment>> MOMENTS = ThreadLocal.withInitial(HashMap::new);

    static {
        for (int place = 0; place < FIELDS.length; place++) {
            PLACES.put(FIELDS[place], place);
        }
        region("East", "NY NJ PA MA CT RI VT NH ME DE MD VA WV NC SC GA FL");
        region("South", "AL MS LA TX AR TN KY OK");
        region("Midwest", "OH IN IL MI WI MN IA MO KS NE SD ND");
        region("West", "CA OR WA NV AZ UT CO WY MT ID NM AK HI");
    }

    private static void region(String region, String states) {
        for (String state : states.split(" ")) {
            REGIONS.put(state, region);
        }
    }

    private static byte[] enrich(byte[] value) {
        try {
            return write(read(value));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static String[] read(byte[] value) throws IOException {
        String[] login = new String[FIELDS.length];
        try (JsonParser parser = JSON.createParser(value)) {
            parser.nextToken();
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                JsonToken token = parser.nextToken();
                Integer place = PLACES.get(name);
                if (place == null) {
                    parser.skipChildren();
                } else if (token != JsonToken.VALUE_NULL) {
                    login[place] = parser.getText();
                }
            }
        }
        return login;
    }

    private static byte[] write(String[] login) throws IOException {
        Moment moment = login[TIMESTAMP] == null ? null : moment(Long.parseLong(login[TIMESTAMP]));
        String region = login[LOCALE] == null ? "Unknown" : REGIONS.getOrDefault(login[LOCALE], "Unknown");
        try (ByteArrayBuilder bytes = new ByteArrayBuilder(JSON._getBufferRecycler())) {
            try (JsonGenerator generator = JSON.createGenerator(bytes)) {
                generator.writeStartObject();
                for (int place = 0; place < TIMESTAMP; place++) {
                    String text = login[place];
                    generator.writeStringField(FIELDS[place], text == null ? ABSENT[place] : text);
                }
                generator.writeStringField("timestamp", moment == null ? ABSENT[TIMESTAMP] : moment.text());
                generator.writeStringField("region", region);
                if (moment == null) {
                    generator.writeNullField("time_flg");
                } else {
                    generator.writeNumberField("time_flg", moment.period());
                }
                generator.writeEndObject();
            }
            return bytes.toByteArray();
        }
    }

    private static Moment moment(long second) {
        Map<Long, Moment> moments = MOMENTS.get();
        Moment known = moments.get(second);
        if (known == null) {
            LocalDateTime time = LocalDateTime.ofEpochSecond(second, 0, ZoneOffset.UTC);
            int hour = time.getHour();
            int period = hour < 6 || hour >= 22 ? 4 : hour < 12 ? 1 : hour < 18 ? 2 : 3;
            known = new Moment(TIME.format(time), period);
            if (moments.size() >= MOST_MOMENTS) {
                moments.clear();
            }
            moments.put(second, known);
        }
        return known;
    }

    public static void main(String[] arguments) throws IOException, InterruptedException {
        Properties properties = new Properties();
        try (FileReader file = new FileReader(arguments[0])) {
            properties.load(file);
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .mapValues(Logins::enrich)
            .to(arguments[2], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        Thread.currentThread().join();
    }
}
