//! Settings of traces.

use clap::Args;

// (A doc comment here would end up in the help of whatever takes the group.)
// Traces, by OpenTelemetry's standard variables. Its SDK reads more of them: see `docs/traces.md`.
#[derive(Debug, Clone, Args)]
pub struct TraceSettings {
    /// Where spans are sent, by OTLP over HTTP, such as http://localhost:4318; /v1/traces is appended. Unset: nothing is traced.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// The same for traces alone, and taken as it is.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide_env_values = true)]
    pub otlp_traces_endpoint: Option<String>,

    /// The authority of the collector's certificate in PEM, if its address is https. Unset: the system's authorities.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE")]
    pub otlp_certificate: Option<String>,

    /// A certificate to show to the collector, in PEM.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")]
    pub otlp_client_certificate: Option<String>,

    /// Its key, in PEM.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CLIENT_KEY")]
    pub otlp_client_key: Option<String>,

    /// The service's name in traces. Unset: the program's own.
    #[arg(long, env = "OTEL_SERVICE_NAME")]
    pub otel_service_name: Option<String>,

    /// How spans leave: `otlp`, or `none`.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp")]
    pub otel_traces_exporter: String,

    /// Which traces are recorded: always_on, always_off or traceidratio, and with parentbased_ before it only where the caller has
    /// not decided already.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_on")]
    pub otel_traces_sampler: String,

    /// The share of traces that traceidratio records, 0.0 to 1.0. Unset: all.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG")]
    pub otel_traces_sampler_arg: Option<String>,

    /// `true` switches traces off, whatever else is set.
    #[arg(long, env = "OTEL_SDK_DISABLED", default_value = "false")]
    pub otel_sdk_disabled: String,
}
