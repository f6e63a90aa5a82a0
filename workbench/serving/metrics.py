"""What Prometheus sees of the service."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

PARTS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 12, 16, 24, 32)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory and processor time, where the system tells (Linux)
        self.requests = Counter("workbench_requests", "Answers by route and status", ["route", "status"],
                                registry=self.registry)
        self.errors = Counter("workbench_errors", "Answers other than 200 by kind", ["kind"], registry=self.registry)
        self.latency = Histogram("workbench_latency_seconds", "Time of a query by part: queue, decode, log, total",
                                 ["part"], buckets=PARTS_S, registry=self.registry)
        self.batch_size = Histogram("workbench_batch_size", "Queries decoded together", buckets=SIZES,
                                    registry=self.registry)
        self.queue_depth = Gauge("workbench_queue_depth", "Queries waiting for the model", registry=self.registry)
        self.model = Gauge("workbench_model", "1 for each model that is loaded", ["version", "role"],
                           registry=self.registry)
        self.names = Gauge("workbench_names", "Names of the biasing list that the champion's answers are held against",
                           registry=self.registry)
        self.shadows_dropped = Counter("workbench_shadows_dropped", "Queries that the shadow had no time for",
                                       registry=self.registry)
        self.ready = Gauge("workbench_ready", "1 while queries are answered", registry=self.registry)

    def text(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self.registry)
