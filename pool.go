package backstay

// Pool is how requests are spread over servers: what a service says under
// traffic, and a backend about its servers.
type Pool struct {
	Balance   Balance  `yaml:"balance" change:"live" json:"balance"`     // p2c: the less loaded of two drawn at random; least_conn: fewest requests in flight; round_robin: one after the other
	Outlier   *Outlier `yaml:"outlier" change:"live" json:"outlier"`     // real requests that go wrong take a server out
	Keepalive int      `yaml:"keepalive" change:"live" json:"keepalive"` // idle upstream connections kept per server
}

// SetDefaults fills in what a file leaves out.
func (p *Pool) SetDefaults() {
	o := new(Outlier)
	o.SetDefaults()
	*p = Pool{Balance: P2C, Outlier: o, Keepalive: 64}
}

// Balance says which server takes the next request.
type Balance string

// The ways to balance.
const (
	RoundRobin Balance = "round_robin"
	LeastConn  Balance = "least_conn" // fewest requests in flight
	P2C        Balance = "p2c"        // the less loaded of two drawn at random
)

// Outlier is passive health: real requests eject a server.
type Outlier struct {
	ConsecutiveErrors int      `yaml:"consecutive_errors" change:"live" json:"consecutive_errors"` // 5xx, resets, timeouts in a row
	ErrorRate         Percent  `yaml:"error_rate" change:"live" json:"error_rate"`                 // over 30 s and at least 50 requests; 0 is off
	Eject             Duration `yaml:"eject" change:"live" json:"eject"`                           // the first time; doubles while it repeats
	MaxEjected        Percent  `yaml:"max_ejected" change:"live" json:"max_ejected"`               // never more than this share at once
}

// SetDefaults fills in what a file leaves out.
func (o *Outlier) SetDefaults() {
	*o = Outlier{ConsecutiveErrors: 5, Eject: Duration(30e9), MaxEjected: 50}
}
