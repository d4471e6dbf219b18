package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"poked/dispatcher/spans"
)

// tracesFlush bounds how long a stop waits until the last spans are exported.
const tracesFlush = 5 * time.Second

// wantsTraces reports whether the standard environment variables of OpenTelemetry ask for traces:
// they name an endpoint, and nothing turns them off. If they ask for what poked cannot do, why
// says so.
func wantsTraces(env func(string) string) (wanted bool, why string) {
	exporter := cmp.Or(env("OTEL_TRACES_EXPORTER"), "otlp")
	protocol := cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), env("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	switch {
	case cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), env("OTEL_EXPORTER_OTLP_ENDPOINT")) == "",
		strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return false, ""
	case exporter != "otlp":
		return false, "OTEL_TRACES_EXPORTER must be otlp or none"
	case protocol != "http/protobuf" && protocol != "http/json":
		return false, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or http/json"
	}
	return true, ""
}

// openTraces returns a recorder whose spans are exported by OTLP over HTTP, as the environment
// variables of OpenTelemetry say, or nil if they do not ask for that. close exports the last ones.
func openTraces(ctx context.Context, worker string, log *slog.Logger) (recorder *spans.Recorder, closeAll func() error, err error) {
	wanted, why := wantsTraces(os.Getenv)
	if why != "" {
		log.Warn("traces are not exported", "error", why)
	}
	if !wanted {
		return nil, nil, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not exported", "error", err) }))
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("export traces: %w", err)
	}
	// OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME come last, so that they win.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "poked"), attribute.String("service.version", ReadVersion().Version),
		attribute.String("service.instance.id", worker)), resource.WithFromEnv())
	if err != nil {
		log.Warn("the resource of traces lacks something", "error", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(res))
	log.Info("traces are exported")
	return spans.New(provider.Tracer("poked")), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesFlush)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last traces were not exported", "error", err)
		}
		return nil
	}, nil
}
