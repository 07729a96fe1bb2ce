package backstay

// Probe is a periodic question with thresholds. It means the same everywhere: it
// turns bad after FailureThreshold bad answers in a row and good after
// SuccessThreshold good ones (Kubernetes' meaning).
type Probe struct {
	HTTP     string   `yaml:"http" change:"live"`     // GET this path
	TCP      bool     `yaml:"tcp" change:"live"`      // connect
	Exec     []string `yaml:"exec" change:"live"`     // exit 0 passes
	Redis    bool     `yaml:"redis" change:"live"`    // PING; +PONG or -NOAUTH passes
	Postgres bool     `yaml:"postgres" change:"live"` // any well-formed answer but "starting up" passes

	Period           Duration          `yaml:"period" change:"live"`
	Timeout          Duration          `yaml:"timeout" change:"live"` // of one question; at most Period
	FailureThreshold int               `yaml:"failure_threshold" change:"live"`
	SuccessThreshold int               `yaml:"success_threshold" change:"live"`
	InitialDelay     Duration          `yaml:"initial_delay" change:"live"`
	Port             PortRef           `yaml:"port" change:"live"` // the only one, else http, else required
	Address          string            `yaml:"address" change:"live"`
	Headers          map[string]string `yaml:"headers" change:"live"`
	Expect           Expect            `yaml:"expect" change:"live"`
	User             string            `yaml:"user" change:"live"` // of exec; the service's if empty
}

// SetDefaults fills in what a file leaves out.
func (p *Probe) SetDefaults() {
	*p = Probe{
		Period: Duration(2e9), Timeout: Duration(1e9), FailureThreshold: 3, SuccessThreshold: 1,
		Expect: Expect{Low: 200, High: 399},
	}
}

// Kind returns which question p asks, or "" if none or several are set.
func (p *Probe) Kind() string {
	kind := ""
	for name, set := range map[string]bool{
		"http": p.HTTP != "", "tcp": p.TCP, "exec": len(p.Exec) > 0, "redis": p.Redis, "postgres": p.Postgres,
	} {
		switch {
		case set && kind != "":
			return ""
		case set:
			kind = name
		}
	}
	return kind
}

// PortRef names a port of a service, or is its number. Empty is the only port,
// else the one named http.
type PortRef string

// Expect is which answers of an HTTP probe pass. The zero value passes none.
type Expect struct {
	Low, High int // inclusive: 200-399
	Body      string
}
