import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** Kafka's own clients, 3.4 to 4: idempotent and transactional producers, groups, admin. Arguments: bootstrap server, prefix of the topics. */
public class JavaClient {
  /** Nothing is expected to take long; a slow machine may. */
  static final int patienceMs = 60000;

  static String bootstrap;
  static String prefix;

  public static void main(String[] arguments) throws Exception {
    bootstrap = arguments[0];
    prefix = arguments[1];
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
      topics(admin);
      records(admin);
      groups(admin);
      transactions(admin);
      configs(admin);
      deletion(admin);
    }
  }

  static void result(String name, Object value) {
    System.out.println("=" + name + "\t" + json(value));
  }

  static String json(Object value) {
    if (value instanceof Collection<?>) {
      return ((Collection<?>) value).stream().map(JavaClient::json).collect(Collectors.joining(",", "[", "]"));
    }
    if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
    return '"' + String.valueOf(value).replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }

  interface Call {
    void run() throws Exception;
  }

  /** The name of what a call throws, or null. */
  static String failure(Call call) {
    try {
      call.run();
      return null;
    } catch (ExecutionException error) {
      return error.getCause().getClass().getSimpleName();
    } catch (Exception error) {
      return error.getClass().getSimpleName();
    }
  }

  static KafkaProducer<String, String> producer(Map<String, Object> more) {
    Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "delivery.timeout.ms", 2 * patienceMs, "request.timeout.ms", patienceMs));
    config.putAll(more);
    return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
  }

  static KafkaConsumer<String, String> consumer(Map<String, Object> more) {
    Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "earliest"));
    config.putAll(more);
    return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
  }

  /** Polls until so many records came. */
  static List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> consumer, int count) {
    return readUntil(consumer, records -> records.size() >= count);
  }

  static List<ConsumerRecord<String, String>> readUntil(KafkaConsumer<String, String> consumer, java.util.function.Predicate<List<ConsumerRecord<String, String>>> enough) {
    List<ConsumerRecord<String, String>> records = new ArrayList<>();
    long endMs = System.currentTimeMillis() + patienceMs;
    while (!enough.test(records) && System.currentTimeMillis() < endMs) consumer.poll(Duration.ofMillis(200)).forEach(records::add);
    return records;
  }

  /** What comes in so much time. */
  static List<ConsumerRecord<String, String>> readFor(KafkaConsumer<String, String> consumer, int ms) {
    long endMs = System.currentTimeMillis() + ms;
    return readUntil(consumer, records -> System.currentTimeMillis() >= endMs);
  }

  static List<String> values(List<ConsumerRecord<String, String>> records) {
    return records.stream().map(ConsumerRecord::value).collect(Collectors.toList());
  }

  static void topics(Admin admin) throws Exception {
    NewTopic topic = new NewTopic(prefix + "-records", 2, (short) 1).configs(Map.of("max.message.bytes", "5242880"));
    CreateTopicsResult created = admin.createTopics(List.of(topic));
    created.all().get();
    result("created", List.of(created.numPartitions(topic.name()).get(), created.replicationFactor(topic.name()).get()));
    result("again", failure(() -> admin.createTopics(List.of(topic)).all().get()));
    result("bad-name", failure(() -> admin.createTopics(List.of(new NewTopic("nosuch!", 1, (short) 1))).all().get()));
    result("bad-replicas", failure(() -> admin.createTopics(List.of(new NewTopic(prefix + "-three", 1, (short) 3))).all().get()));
    result("listed", admin.listTopics().names().get().contains(topic.name()));
    TopicDescription found = admin.describeTopics(List.of(topic.name())).allTopicNames().get().get(topic.name());
    result("partitions", found.partitions().stream().map(p -> List.of(p.partition(), p.leader().id(), p.replicas().size(), p.isr().size())).collect(Collectors.toList()));
    result("same-id", found.topicId().equals(created.topicId(topic.name()).get()));
    result("describe-unknown", failure(() -> admin.describeTopics(List.of(prefix + "-none")).allTopicNames().get()));
    DescribeClusterResult cluster = admin.describeCluster();
    result("cluster", List.of(cluster.nodes().get().size(), cluster.controller().get().id(), cluster.clusterId().get().length()));
  }

  static void records(Admin admin) throws Exception {
    String topic = prefix + "-records";
    List<Long> offsets = new ArrayList<>();
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      // Idempotent is what it is by default.
      try (KafkaProducer<String, String> producer = producer(Map.of("compression.type", codec, "linger.ms", 20))) {
        List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
        for (int n = 0; n < 20; n++) {
          RecordHeader header = new RecordHeader("codec", codec.getBytes());
          sent.add(producer.send(new ProducerRecord<>(topic, 0, 1600000000000L + n, "k" + n, codec + " " + n, List.of(header))));
        }
        for (java.util.concurrent.Future<RecordMetadata> each : sent) offsets.add(each.get().offset());
      }
    }
    result("offsets", offsets.equals(IntStream.range(0, 100).mapToObj(Long::valueOf).collect(Collectors.toList())));
    try (KafkaProducer<String, String> producer = producer(Map.of("acks", "0", "enable.idempotence", false))) {
      result("acks-0", producer.send(new ProducerRecord<>(topic, 1, null, "silent")).get().offset());
    }
    try (KafkaProducer<String, String> producer = producer(Map.of("max.request.size", 20000000))) {
      result("too-large", failure(() -> producer.send(new ProducerRecord<>(topic, 1, null, "z".repeat(6000000))).get()));
    }
    TopicPartition zero = new TopicPartition(topic, 0);
    TopicPartition one = new TopicPartition(topic, 1);
    try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
      consumer.assign(List.of(zero));
      consumer.seekToBeginning(List.of(zero));
      List<ConsumerRecord<String, String>> all = read(consumer, 100);
      result("read", List.of(all.size(), all.get(99).value(), all.get(99).offset()));
      ConsumerRecord<String, String> record = all.get(21);
      result("record", List.of(record.key(), record.value(), record.timestamp(), record.timestampType(), new String(record.headers().lastHeader("codec").value())));
      consumer.seek(zero, 4);
      result("from-4", read(consumer, 1).get(0).offset());
      result("beginning", new ArrayList<>(consumer.beginningOffsets(List.of(zero)).values()));
      result("end", new ArrayList<>(consumer.endOffsets(List.of(zero)).values()));
      result("for-time", consumer.offsetsForTimes(Map.of(zero, 1600000000005L)).get(zero).offset());
      result("for-later", consumer.offsetsForTimes(Map.of(zero, 4102444800000L)).get(zero) == null);
      result("partitions-for", consumer.partitionsFor(topic).size());
    }
    for (Map.Entry<String, OffsetSpec> each : new TreeMap<>(Map.of("earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(), "max", OffsetSpec.maxTimestamp(), "at", OffsetSpec.forTimestamp(1600000000019L))).entrySet()) {
      ListOffsetsResult.ListOffsetsResultInfo found = admin.listOffsets(Map.of(zero, each.getValue())).partitionResult(zero).get();
      result("list-" + each.getKey(), List.of(found.offset(), found.timestamp()));
    }
    ListOffsetsOptions committed = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
    // The silent one has no answer to wait for.
    long endMs = System.currentTimeMillis() + patienceMs;
    while (admin.listOffsets(Map.of(one, OffsetSpec.latest()), committed).partitionResult(one).get().offset() < 1 && System.currentTimeMillis() < endMs) Thread.sleep(20);
    result("list-committed", admin.listOffsets(Map.of(one, OffsetSpec.latest()), committed).partitionResult(one).get().offset());
  }

  static void groups(Admin admin) throws Exception {
    String topic = prefix + "-records";
    String group = prefix + "-group";
    for (String name : List.of("group-first", "group-again")) {
      try (KafkaConsumer<String, String> consumer = consumer(Map.of("group.id", group, "client.id", "reader"))) {
        consumer.subscribe(List.of(topic));
        int wanted = name.equals("group-first") ? 101 : 0;
        List<ConsumerRecord<String, String>> records = readUntil(consumer, read -> read.size() >= wanted && consumer.assignment().size() == 2);
        records.addAll(readFor(consumer, 3000));
        consumer.commitSync();
        result(name, List.of(records.size(), consumer.committed(consumer.assignment()).values().stream().mapToLong(OffsetAndMetadata::offset).sum()));
        if (name.equals("group-again")) {
          ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
          MemberDescription member = described.members().iterator().next();
          result("described", List.of(described.members().size(), member.clientId(), member.assignment().topicPartitions().size(), described.partitionAssignor()));
          result("not-empty", failure(() -> admin.deleteConsumerGroups(List.of(group)).all().get()));
        }
      }
    }
    // Two members with cooperative rebalancing: both get half, then one has all.
    String shared = prefix + "-shared";
    admin.createTopics(List.of(new NewTopic(shared, 4, (short) 1))).all().get();
    Map<String, Object> cooperative = Map.of("group.id", shared, "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    KafkaConsumer<String, String> one = consumer(cooperative);
    try (KafkaConsumer<String, String> two = consumer(cooperative)) {
      one.subscribe(List.of(shared));
      two.subscribe(List.of(shared));
      result("halves", pollUntil(List.of(one, two), List.of(2, 2)));
      one.close();
      result("rest", pollUntil(List.of(two), List.of(4)));
    }
    result("groups", admin.listConsumerGroups().all().get().stream().map(ConsumerGroupListing::groupId).filter(id -> id.startsWith(prefix + "-")).sorted().map(id -> id.substring(prefix.length() + 1)).collect(Collectors.toList()));
    TopicPartition zero = new TopicPartition(topic, 0);
    admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(7, "by hand"))).all().get();
    OffsetAndMetadata committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(zero);
    result("altered", List.of(committed.offset(), committed.metadata()));
    admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get();
    result("offset-deleted", admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().containsKey(zero));
    admin.deleteConsumerGroups(List.of(group)).all().get();
    result("group-deleted", admin.listConsumerGroups().all().get().stream().noneMatch(listing -> listing.groupId().equals(group)));
  }

  static List<Integer> pollUntil(List<KafkaConsumer<String, String>> members, List<Integer> wanted) {
    long endMs = System.currentTimeMillis() + patienceMs;
    for (;;) {
      List<Integer> counts = members.stream().map(member -> member.assignment().size()).collect(Collectors.toList());
      if (counts.equals(wanted) || System.currentTimeMillis() > endMs) return counts;
      for (KafkaConsumer<String, String> member : members) member.poll(Duration.ofMillis(100));
    }
  }

  static void transactions(Admin admin) throws Exception {
    String topic = prefix + "-transactions";
    String work = prefix + "-work";
    TopicPartition source = new TopicPartition(prefix + "-records", 0);
    admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
    Map<String, Object> transactional = Map.of("transactional.id", prefix + "-id");
    try (KafkaProducer<String, String> producer = producer(transactional); KafkaProducer<String, String> newer = producer(transactional)) {
      producer.initTransactions();
      producer.beginTransaction();
      producer.send(new ProducerRecord<>(topic, "committed"));
      producer.sendOffsetsToTransaction(Map.of(source, new OffsetAndMetadata(99)), new ConsumerGroupMetadata(work));
      producer.commitTransaction();
      producer.beginTransaction();
      producer.send(new ProducerRecord<>(topic, "aborted"));
      producer.flush();
      producer.sendOffsetsToTransaction(Map.of(source, new OffsetAndMetadata(100)), new ConsumerGroupMetadata(work));
      producer.abortTransaction();
      producer.beginTransaction();
      producer.send(new ProducerRecord<>(topic, "left open"));
      producer.flush();
      newer.initTransactions();
      // 3.x says ProducerFencedException, 4 says InvalidProducerEpochException to some of its calls: both mean it.
      result("fenced", failure(producer::commitTransaction) != null);
      newer.beginTransaction();
      newer.send(new ProducerRecord<>(topic, "of the newer one"));
      newer.commitTransaction();
    }
    for (String isolation : List.of("read_committed", "read_uncommitted")) {
      try (KafkaConsumer<String, String> consumer = consumer(Map.of("isolation.level", isolation))) {
        TopicPartition partition = new TopicPartition(topic, 0);
        consumer.assign(List.of(partition));
        long end = consumer.endOffsets(List.of(partition)).get(partition);
        result(isolation, values(readUntil(consumer, read -> consumer.position(partition) >= end)));
        result(isolation + "-position", consumer.position(partition));
      }
    }
    result("offset-in-transaction", admin.listConsumerGroupOffsets(work).partitionsToOffsetAndMetadata().get().get(source).offset());
  }

  /** Asks until the change shows: Kafka's brokers learn of it a moment after it was answered. */
  static Config configWhen(Admin admin, ConfigResource resource, java.util.function.Predicate<Config> wanted) throws Exception {
    long end = System.nanoTime() + patienceMs * 1_000_000L;
    while (true) {
      Config found = admin.describeConfigs(List.of(resource)).all().get().get(resource);
      if (wanted.test(found) || System.nanoTime() > end) return found;
      Thread.sleep(20);
    }
  }

  static void configs(Admin admin) throws Exception {
    ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, prefix + "-records");
    admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "999999999999"), AlterConfigOp.OpType.SET)))).all().get();
    Config config = configWhen(admin, resource, found -> found.get("retention.ms").value().equals("999999999999"));
    ConfigEntry retention = config.get("retention.ms");
    result("config", List.of(config.get("max.message.bytes").value(), retention.value(), retention.source(), config.get("cleanup.policy").value(), config.get("cleanup.policy").isDefault()));
    admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE)))).all().get();
    result("config-deleted", configWhen(admin, resource, found -> found.get("retention.ms").isDefault()).get("retention.ms").isDefault());
    result("config-wrong", failure(() -> admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all().get()));
    ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
    result("broker-config", admin.describeConfigs(List.of(broker)).all().get().get(broker).get("message.max.bytes").value());
  }

  static void deletion(Admin admin) throws Exception {
    String topic = prefix + "-records";
    TopicPartition zero = new TopicPartition(topic, 0);
    admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
    result("partitions-after", admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
    result("fewer", failure(() -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get()));
    result("low-after", admin.deleteRecords(Map.of(zero, RecordsToDelete.beforeOffset(30))).lowWatermarks().get(zero).get().lowWatermark());
    try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
      consumer.assign(List.of(zero));
      consumer.seek(zero, 3);
      result("reset-to", read(consumer, 1).get(0).offset());
    }
    admin.deleteTopics(List.of(topic, prefix + "-transactions", prefix + "-shared")).all().get();
    long endMs = System.currentTimeMillis() + patienceMs;
    while (admin.listTopics().names().get().contains(topic) && System.currentTimeMillis() < endMs) Thread.sleep(50);
    result("deleted", !admin.listTopics().names().get().contains(topic));
    result("delete-unknown", failure(() -> admin.deleteTopics(List.of(topic)).all().get()));
  }
}
