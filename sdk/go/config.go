package deltaforge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// decodeConfig reads a configuration block over what config holds. The host says beside the message that it is about
// the configuration.
func decodeConfig(text string, config any) error {
	text = strings.TrimSpace(text)
	if text == "" || text == "null" {
		return nil // a plugin without options may be given no block at all
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(config); err != nil {
		return Fatal("%s", configProblem(err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Fatal("there is something behind the configuration")
	}
	return nil
}

// configProblem says what is wrong in the words of the configuration's author, who knows nothing of Go.
func configProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		if field == "" {
			field = "config"
		}
		return fmt.Sprintf("`%s` cannot be a %s", field, wrong.Value)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, unknown := strings.CutPrefix(text, "unknown field "); unknown {
		return "unknown field `" + strings.Trim(name, `"`) + "`"
	}
	return text
}
