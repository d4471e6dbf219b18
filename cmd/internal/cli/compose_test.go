package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"
)

// composeFile is the part of docker-compose.yml that these tests read.
type composeFile struct {
	Services map[string]struct {
		Image         string            `yaml:"image"`
		Command       []string          `yaml:"command"`
		ContainerName string            `yaml:"container_name"`
		Ports         []string          `yaml:"ports"`
		Volumes       []string          `yaml:"volumes"`
		Secrets       []string          `yaml:"secrets"`
		Restart       string            `yaml:"restart"`
		Environment   map[string]string `yaml:"environment"`
		Profiles      []string          `yaml:"profiles"`
		Configs       []struct {
			Source string `yaml:"source"`
			Target string `yaml:"target"`
		} `yaml:"configs"`
		Healthcheck struct {
			Test    []string `yaml:"test"`
			Disable bool     `yaml:"disable"`
		} `yaml:"healthcheck"`
		DependsOn map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
		Build struct {
			Dockerfile string `yaml:"dockerfile"`
		} `yaml:"build"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
	Secrets map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
	Configs map[string]struct {
		File string `yaml:"file"`
	} `yaml:"configs"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	raw, err := os.ReadFile(fromRoot("docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// dockerfile returns the arguments of each instruction of the Dockerfile's last
// stage.
func dockerfile(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(fromRoot("cmd", "poked", "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	instructions := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "FROM" {
			clear(instructions)
		}
		instructions[name] = args
	}
	return instructions
}

func execForm(t *testing.T, text string) []string {
	t.Helper()
	var words []string
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		t.Fatalf("%s is not in exec form: %v", text, err)
	}
	return words
}

// setEnvironment sets the environment of a service. Each variable of the operator gets a value
// that fits its name: a password or an address.
func setEnvironment(t *testing.T, environment map[string]string) {
	t.Helper()
	for name, value := range environment {
		t.Setenv(name, composeVariable.ReplaceAllStringFunc(value, func(variable string) string {
			own := composeVariable.FindStringSubmatch(variable)[1]
			if strings.HasSuffix(own, "_PASSWORD") {
				return "p-" + own
			}
			return "http://" + own
		}))
	}
}

// composeVariable matches a variable, with an optional default or error message.
var composeVariable = regexp.MustCompile(`\$\{(\w+)(?::[?-][^}]*)?\}`)

// wantAccepted parses the arguments as the program would.
func wantAccepted(t *testing.T, where string, args []string) {
	t.Helper()
	parser, err := Poked().Parser()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Errorf("%s: poked does not accept %q: %v", where, args, err)
	}
}

func TestDockerfileRunsPoked(t *testing.T) {
	last := dockerfile(t)
	if entry := execForm(t, last["ENTRYPOINT"]); !slices.Equal(entry, []string{"poked"}) {
		t.Errorf("the entry point is %q", entry)
	}
	wantAccepted(t, "Dockerfile", execForm(t, last["CMD"]))
	if last["USER"] == "" || last["USER"] == "root" {
		t.Errorf("it runs as %q", last["USER"])
	}
	ops, set := strings.CutPrefix(last["ENV"], "POKED_OPS=")
	if !set || !strings.Contains(last["HEALTHCHECK"], `"http://`+ops+`/readyz"`) {
		t.Errorf("the health check is %s, the operator's port at %s", last["HEALTHCHECK"], last["ENV"])
	}
}

func TestComposeRunsPoked(t *testing.T) {
	file := readCompose(t)
	for role, command := range map[string]string{"registry": "registry", "registry2": "registry", "dispatcher": "dispatcher", "operator": "gateways", "bridge": "bridge"} {
		t.Run(role, func(t *testing.T) { // each has its own environment
			service := file.Services[role]
			if service.Image != "poked" || len(service.Command) == 0 || service.Command[0] != command {
				t.Errorf("%s runs %s %q", role, service.Image, service.Command)
			}
			setEnvironment(t, service.Environment)
			user := strings.TrimSuffix(role, "2")
			if urls := os.Getenv("POKED_NATS"); strings.Count(urls, "nats://"+user+":p-POKED_NATS_"+strings.ToUpper(user)+"_PASSWORD@") != 3 {
				t.Errorf("%s has not its own credentials for NATS: %s", role, urls)
			}
			wantAccepted(t, role, service.Command)
			if _, err := os.Stat(fromRoot(service.Build.Dockerfile)); err != nil {
				t.Errorf("%s: %v", role, err)
			}
			for i := range 3 {
				if nats := service.DependsOn["nats"+string(rune('1'+i))]; nats.Condition != "service_healthy" {
					t.Errorf("%s starts without NATS: %+v", role, service.DependsOn)
				}
			}
		})
	}
	for _, role := range []string{"operator", "bridge", "registry2", "registries", "postgres"} {
		if len(file.Services[role].Profiles) == 0 {
			t.Errorf("the %s is started with the others", role)
		}
	}
	if d := file.Services["dispatcher"]; d.ContainerName != "" || len(d.Ports) > 0 {
		t.Errorf("the dispatcher cannot be scaled: name %q, ports %q", d.ContainerName, d.Ports)
	}
}

// Everything that a service refers to exists, and every service restarts.
func TestComposeIsComplete(t *testing.T) {
	file := readCompose(t)
	for name, service := range file.Services {
		if service.Restart != "unless-stopped" {
			t.Errorf("%s: restart is %q", name, service.Restart)
		}
		if len(service.Healthcheck.Test) == 0 && !service.Healthcheck.Disable {
			t.Errorf("%s has no health check", name)
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := file.Volumes[source]; !ok {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
		for _, secret := range service.Secrets {
			used := func(arg string) bool { return strings.HasSuffix(arg, "=/run/secrets/"+secret) }
			if file.Secrets[secret].File == "" || !slices.ContainsFunc(service.Command, used) {
				t.Errorf("%s: secret %s is not there, or not used", name, secret)
			}
		}
		for _, config := range service.Configs {
			if _, err := os.Stat(fromRoot(file.Configs[config.Source].File)); file.Configs[config.Source].File == "" || err != nil {
				t.Errorf("%s: config %s is not there: %v", name, config.Source, err)
			}
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is reachable from other machines", name, port)
			}
		}
	}
}

// TestComposeRunsNATS reads each NATS server's command line and configuration as nats-server
// does.
func TestComposeRunsNATS(t *testing.T) {
	file := readCompose(t)
	dirs := map[string]bool{}
	for _, name := range []string{"nats1", "nats2", "nats3"} {
		service := file.Services[name]
		if len(service.Configs) != 1 {
			t.Fatalf("%s has %d configurations", name, len(service.Configs))
		}
		mounted := service.Configs[0]
		path := fromRoot(file.Configs[mounted.Source].File)
		setEnvironment(t, service.Environment)
		args := slices.Clone(service.Command)
		for i, arg := range args {
			if arg == mounted.Target {
				args[i] = path
			}
		}
		options, err := server.ConfigureOptions(flag.NewFlagSet(name, flag.ContinueOnError), args, nil, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if options.ConfigFile != path || options.ServerName != name {
			t.Errorf("%s reads %s and is called %s", name, options.ConfigFile, options.ServerName)
		}
		if !options.JetStream || !options.SyncAlways || options.StoreDir != "/data" || options.Port != 4222 {
			t.Errorf("%s: %+v", name, options)
		}
		if options.Cluster.Name != "poked" || len(options.Routes) != 3 || options.Cluster.Port != 6222 {
			t.Errorf("%s: cluster %+v, routes %v", name, options.Cluster, options.Routes)
		}
		checkPasswords(t, name, options, service.Healthcheck.Test)
		for _, user := range options.Users {
			if user.Password != "p-POKED_NATS_"+strings.ToUpper(user.Username)+"_PASSWORD" {
				t.Errorf("%s: %s has the password %s", name, user.Username, user.Password)
			}
		}
		if len(options.Users) != 5 {
			t.Errorf("%s has %d users", name, len(options.Users))
		}
		dirs[service.Volumes[0]] = true
	}
	if len(dirs) != 3 {
		t.Errorf("the servers share their files: %v", dirs)
	}
}

// checkPasswords checks that every port which other machines can reach needs a password, and that
// the health check uses the right monitoring port.
func checkPasswords(t *testing.T, name string, options *server.Options, health []string) {
	t.Helper()
	password, ok := "p-POKED_NATS_ROUTE_PASSWORD", options.Cluster.Username == "route"
	if !ok || options.Cluster.Password != password {
		t.Errorf("%s lets servers join as %q with %q", name, options.Cluster.Username, options.Cluster.Password)
	}
	for _, route := range options.Routes {
		if has, _ := route.User.Password(); has != password || route.User.Username() != "route" {
			t.Errorf("%s joins %s as %s", name, route.Host, route.User)
		}
	}
	monitor := fmt.Sprintf("http://%s:%d/healthz", options.HTTPHost, options.HTTPPort)
	if options.HTTPHost != "127.0.0.1" || !slices.Contains(health, monitor) {
		t.Errorf("%s: the monitoring port is %q, the health check %q", name, monitor, health)
	}
	if options.NoAuthUser != "" || options.HTTPSPort != 0 || options.ProfPort != 0 || options.LeafNode.Port != 0 ||
		options.Gateway.Port != 0 || options.Websocket.Port != 0 || options.MQTT.Port != 0 {
		t.Errorf("%s has another open port: %+v", name, options)
	}
}
