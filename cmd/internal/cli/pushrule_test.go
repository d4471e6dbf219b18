package cli

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// pushruleVectors returns the adopted vectors that are questions, with the expected answers.
func pushruleVectors(t *testing.T) (questions []string, expected []any) {
	t.Helper()
	data, err := os.ReadFile(fromRoot("testdata", "pushrules.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []json.RawMessage }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, raw := range file.Vectors {
		vector := decodeObject(t, string(raw))
		_, isQuestion := vector["event"]
		if !isQuestion || vector["adopt"] != true {
			continue
		}
		var line strings.Builder
		if err := json.NewEncoder(&line).Encode(raw); err != nil { // in one line
			t.Fatal(err)
		}
		questions, expected = append(questions, line.String()), append(expected, vector["expect"])
	}
	return questions, expected
}

func decodeObject(t *testing.T, line string) (object map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return object
}

func TestPushruleAnswersVectors(t *testing.T) {
	questions, expected := pushruleVectors(t)
	if len(questions) < 260 {
		t.Fatalf("%d questions, want at least 260", len(questions))
	}
	for _, args := range [][]string{{"pushrule"}, {"pushrule", "--explain", "--json"}} {
		got := poked(t, strings.Join(questions, ""), args...)
		answers := strings.SplitAfter(strings.TrimSuffix(got.Stdout, "\n"), "\n")
		if got.Code != ExitOK || got.Stderr != "" || len(answers) != len(questions) {
			t.Fatalf("%q: exit code %d, %d answers to %d questions, standard error %q", args, got.Code, len(answers), len(questions), got.Stderr)
		}
		for i, line := range answers {
			checkAnswer(t, questions[i], decodeObject(t, line), expected[i])
			if explained := strings.Contains(line, `"explain":[`); explained != (len(args) > 1) {
				t.Errorf("%q explains: %t", args, explained)
			}
		}
	}
}

func checkAnswer(t *testing.T, question string, answer map[string]any, want any) {
	t.Helper()
	ok := false
	switch want := want.(type) {
	case bool:
		ok = answer["match"] == want
	case map[string]any:
		ok = answer["rule_id"] == want["rule_id"] && reflect.DeepEqual(answer["actions"], want["actions"]) &&
			(answer["kind"] == nil) == (answer["rule_id"] == nil)
	}
	if !ok {
		t.Errorf("%s\n got %v\nwant %v", question, answer, want)
	}
}

const lunchQuestion = `{"ruleset":{"override":[{"rule_id":".m.rule.master","enabled":false,"actions":[]}],` +
	`"content":[{"rule_id":"pie","pattern":"pie","actions":["notify"]},` +
	`{"rule_id":"l\u0007","pattern":"lunch","actions":["notify",{"set_tweak":"highlight"}]}],` +
	`"room":[{"rule_id":"!a:x","actions":[]}]},` +
	`"event":{"type":"m.room.message","room_id":"!a:x","sender":"@a:x","content":{"body":"Lunch?"}}}`

func TestPushruleExplainsToPeople(t *testing.T) {
	const want = `line 1: content rule "l\a" matched: "notify", {"set_tweak":"highlight"}
    override  .m.rule.master  disabled
    content   pie             pattern "pie": not found
  * content   l\uFFFD              matched
    room      !a:x            content rule "l\a" matched before
line 3: no match
    override  condition  room_member_count 2: the room has 0 members
line 4: match
  * override  condition  matched
line 5: no rule matched
`
	got := poked(t, lunchQuestion+"\n\n"+
		`{"condition":{"kind":"room_member_count","is":"2"},"event":{}}`+"\n"+
		`{"condition":{"kind":"room_member_count","is":"0"},"event":{}}`+"\n"+
		`{"ruleset":{},"event":{}}`, "pushrule", "--explain")
	if got.Code != ExitOK || got.Stdout != strings.ReplaceAll(want, `\uFFFD`, "\uFFFD") {
		t.Errorf("exit code %d, standard error %q\n got %s\nwant %s", got.Code, got.Stderr, got.Stdout, want)
	}
}

func TestPushruleAnswersAroundBadLines(t *testing.T) {
	const good = `{"condition":{"kind":"room_member_count","is":"0"},"event":{}}`
	long := `{"condition":{},"event":{"SECRET":"` + strings.Repeat("x", maxQuestionBytes) + `"}}`
	longest := strings.Replace(good, "{}", `{"x":"`+strings.Repeat("x", maxQuestionBytes-len(good)-len(`"x":""`))+`"}`, 1)
	for line, want := range map[string]string{
		`{"event":{"body":"SECRET`:                                      "not JSON from byte",
		`["SECRET"]`:                                                    "not a JSON object",
		`{"event":{"body":"SECRET"}}`:                                   "exactly one of",
		`{"ruleset":{},"condition":{},"event":{}}`:                      "exactly one of",
		`{"condition":{}}`:                                              "event is not an object",
		`{"condition":{},"event":"SECRET"}`:                             "event is not an object",
		`{"ruleset":"SECRET","event":{}}`:                               `neither an object nor "spec-v1.19-defaults"`,
		`{"rule":{},"event":{"body":"SECRET"}}`:                         "needs its kind",
		`{"rule":[],"kind":"room","event":{}}`:                          "read rule: not a JSON object",
		`{"ruleset":{},"event":{},"context":{"room_member_count":"9"}}`: "context: room_member_count has the wrong type",
		`{"ruleset":{},"event":{},"context":{"usr_id":"@a:x"}}`:         "context: has a member that is not known",
		`{"ruleset":{},"event":{},"context":[]}`:                        "context: not a JSON object",
		long:                                                            "longer than 1 MiB",
		longest + "x":                                                   "longer than 1 MiB",
	} {
		got := poked(t, longest+"\n"+line+"\n"+good+"\n", "pushrule")
		answers := strings.Split(got.Stdout, "\n")
		if got.Code != ExitUsage || len(answers) != 4 || answers[0] != `{"match":true}` || answers[2] != `{"match":true}` {
			t.Fatalf("%.80s: exit code %d, answers %q, standard error %q", line, got.Code, got.Stdout, got.Stderr)
		}
		message, _ := decodeObject(t, answers[1])["error"].(string)
		if !strings.HasPrefix(message, "line 2: ") || !strings.Contains(message, want) || got.Stderr != "poked: "+message+"\n" {
			t.Errorf("%.80s: answer %q, standard error %q, want %q", line, message, got.Stderr, want)
		}
		if strings.Contains(got.Stdout+got.Stderr, "SECRET") {
			t.Errorf("%.80s: the answer contains the event: %q", line, got.Stdout)
		}
	}
	got := poked(t, "1\n2\n3\n", "pushrule", "--explain")
	if want := "poked: line 1: not a JSON object; 3 bad lines in all\n"; got.Code != ExitUsage || got.Stderr != want {
		t.Errorf("exit code %d, standard error %q, want %q", got.Code, got.Stderr, want)
	}
}
