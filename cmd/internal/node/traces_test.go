package node

import "testing"

// Traces are exported only if the standard environment variables ask for what poked can do.
func TestWantsTraces(t *testing.T) {
	const endpoint, protocol = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
	for _, tt := range []struct {
		env    map[string]string
		wanted bool
		told   bool
	}{
		{nil, false, false},
		{map[string]string{"OTEL_SERVICE_NAME": "x", protocol: "grpc"}, false, false},
		{map[string]string{endpoint: "http://c:4318"}, true, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, true, false},
		{map[string]string{endpoint: "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, false, false},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, false, false},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "zipkin"}, false, true},
		{map[string]string{endpoint: "http://c:4317", protocol: "grpc"}, false, true},
		{map[string]string{endpoint: "http://c:4318", protocol: "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, true, false},
	} {
		wanted, why := wantsTraces(func(name string) string { return tt.env[name] })
		if wanted != tt.wanted || (why != "") != tt.told {
			t.Errorf("%v: %v, %q", tt.env, wanted, why)
		}
	}
}
