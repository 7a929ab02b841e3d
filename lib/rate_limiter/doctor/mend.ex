defmodule RateLimiter.Doctor.Mend do
  @moduledoc false
  # What to change, from the words of a server or of the client.

  @rights "guides/redis.md lists the rights that its user needs"

  # The first that fits.
  @mends [
    {~r/certificate ?required/i,
     "the server requires a certificate of its clients: set certfile: and keyfile: of ssl: (--certfile, --keyfile)"},
    {~r/certificate.*(UnknownIssuer|unknown issuer|signature)/i,
     "set cacertfile: of ssl: (--cacertfile) to the certificates that sign the server's"},
    {~r/certificate.*not valid for/i,
     "connect by a name that is in the server's certificate, or add the name to it"},
    {~r/certificate.*expired/i,
     "renew the certificate of the server, and compare the clock of this machine"},
    {~r/while waiting for TLS|corrupt message|InvalidContentType/,
     "this port does not seem to speak TLS: use redis:// or the TLS port of the server"},
    {~r/without any password configured|no password is set/,
     "the default user of the server has no password: leave it out, or name a user"},
    {~r/WRONGPASS|NOAUTH/, "check user and password"},
    {~r/NOPERM|ACL failure|can't run this command/, @rights},
    {~r/NOREPLICAS/,
     "the server has fewer replicas than its min-replicas-to-write: connect them, or lower that setting"},
    {~r/MISCONF/,
     "the server cannot save its data: see its log, free its disk, or set stop-writes-on-bgsave-error no"},
    {~r/OOM/,
     "the memory of the server is full: raise its maxmemory, or give limits a server of their own"},
    {~r/LOADING/, "the server is loading its data from disk: wait until it has finished"},
    {~r/max number of clients/,
     "raise maxclients of the server; CLIENT LIST shows which clients hold its connections"},
    {~r/BUSY/, "another script runs for too long: SCRIPT KILL ends it, if it has not written"},
    {~r/does not know the group/,
     "set group: (--group) to the name in the Sentinel's configuration: SENTINEL MASTERS lists them"},
    {~r/a node of a cluster/,
     "this server is a node of a Cluster: name it by cluster: (--cluster)"},
    {~r/cluster support disabled/,
     "this server is not a node of a Cluster: name it by url: (--url)"},
    {~r/CLUSTERDOWN|slots? .*have no server|expected slots with an owner/,
     "give each slot a primary: redis-cli --cluster check shows which have none"},
    {~r/READONLY|MASTERDOWN|expected a primary/,
     "this server is a replica: name its primary, or the Sentinels that know it by sentinels: (--sentinels)"},
    {~r/DB index|invalid DB/, "set database: to a number below the databases of the server"},
    {~r/lookup|the name has no address|while waiting for the name/,
     "check the host name, and how this machine resolves it"},
    {~r/broken pipe|reset by peer|closed/i,
     "something closes the connection at once: raise maxclients if that is reached, look at protected-mode, and use " <>
       "rediss:// for a port that speaks TLS"},
    {~r/refused|No such file/,
     "check that Redis runs, and its address and port as this machine sees them"},
    {~r/while waiting for (TCP|the first reply|the script|the socket)/,
     "the address does not answer: check that Redis runs, and firewalls on the way"},
    {~r/no answer within/,
     "Redis answers later than timeout: (--timeout): raise that above the round trip, or move Redis closer"}
  ]
  @otherwise "check that Redis runs, and its address, port and TLS as this machine sees them"

  @doc "Returns what to change about a problem, in the words of a server or of the client."
  @spec of(String.t()) :: String.t()
  def of(problem),
    do: Enum.find_value(@mends, @otherwise, fn {words, mend} -> problem =~ words && mend end)
end
