defmodule RateLimiter.Support.Redis.Certificates do
  @moduledoc false
  # An authority of the test's own, a certificate for the server and one for a client, as files.

  # Of the shortest keys that all take; not elliptic ones, whose signatures OTP describes in a way that some refuse.
  @rsa {:rsa, 2_048, 65_537}
  @names [dNSName: ~c"localhost", iPAddress: <<127, 0, 0, 1>>]
  # OTP's record has the value of `subjectAltName` as it is in the certificate.
  @subject_alt_name {:Extension, {2, 5, 29, 17}, false, @names}

  @type t :: %{ca: Path.t(), server: {Path.t(), Path.t()}, client: {Path.t(), Path.t()}}

  @doc "Writes them into the directory. `server` and `client` are a certificate and its key."
  @spec write!(Path.t()) :: t
  def write!(directory) do
    # One key for all of them: making it is what takes time.
    key = [key: :public_key.generate_key(@rsa), digest: :sha256]
    named = [{:extensions, [@subject_alt_name]} | key]

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{
        server_chain: %{root: key, intermediates: [], peer: named},
        client_chain: %{root: key, intermediates: [], peer: key}
      })

    # Each side has its own root; both are the authority, so that one file serves both.
    authorities = Enum.uniq(server[:cacerts] ++ client[:cacerts])

    %{
      ca: pem!(directory, "ca.pem", for(der <- authorities, do: {:Certificate, der})),
      server: pair!(directory, "server", server),
      client: pair!(directory, "client", client)
    }
  end

  defp pair!(directory, name, config) do
    {type, der} = config[:key]

    {pem!(directory, "#{name}.pem", [{:Certificate, config[:cert]}]),
     pem!(directory, "#{name}.key", [{type, der}])}
  end

  defp pem!(directory, name, entries) do
    path = Path.join(directory, name)
    entries = for {type, der} <- entries, do: {type, der, :not_encrypted}
    File.write!(path, :public_key.pem_encode(entries))
    path
  end
end
