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
	Timeout          Duration          `yaml:"timeout" change:"live"` // of one question; at most period, which it follows below 1s
	FailureThreshold int               `yaml:"failure_threshold" change:"live"`
	SuccessThreshold int               `yaml:"success_threshold" change:"live"`
	InitialDelay     Duration          `yaml:"initial_delay" change:"live"`
	Port             PortRef           `yaml:"port" change:"live"`    // the only one, else http, else required
	Address          string            `yaml:"address" change:"live"` // IP to ask instead of the server's own
	Headers          map[string]string `yaml:"headers" change:"live"` // of the request, Host included
	Expect           Expect            `yaml:"expect" change:"live"`  // which answers of HTTP pass
	User             string            `yaml:"user" change:"live"`    // of exec; the service's if empty
}

// SetDefaults fills in what a file leaves out.
func (p *Probe) SetDefaults() {
	*p = Probe{Period: Duration(2e9), Timeout: Duration(1e9), FailureThreshold: 3, SuccessThreshold: 1}
	p.Expect.SetDefaults()
}

// Follow has a timeout that the file does not say be no longer than the period.
func (p *Probe) Follow(said func(key string) bool) {
	if !said("timeout") && p.Period >= minPeriod {
		p.Timeout = min(p.Timeout, p.Period)
	}
}

// ProbeKinds are the questions a probe may ask, as the file names them.
var ProbeKinds = []string{"http", "tcp", "exec", "redis", "postgres"}

// Kinds returns which questions of [ProbeKinds] p asks. A good probe asks one.
func (p *Probe) Kinds() []string {
	var asked []string
	for i, set := range []bool{p.HTTP != "", p.TCP, len(p.Exec) > 0, p.Redis, p.Postgres} {
		if set {
			asked = append(asked, ProbeKinds[i])
		}
	}
	return asked
}

// Kind returns which question p asks, or "" if none or several are set.
func (p *Probe) Kind() string {
	if asked := p.Kinds(); len(asked) == 1 {
		return asked[0]
	}
	return ""
}
