# The part of Plug that this project calls, with its fields and its semantics, for machines without Hex. Real libraries on
# the code path take its place.
unless Code.ensure_loaded?(Plug.Conn) do
  defmodule Plug do
    @moduledoc false
    @callback init(term) :: term
    @callback call(Plug.Conn.t(), term) :: Plug.Conn.t()
  end

  defmodule Plug.Conn do
    @moduledoc false
    defstruct adapter: {nil, nil},
              assigns: %{},
              halted: false,
              host: "www.example.com",
              method: "GET",
              owner: nil,
              params: %{},
              path_info: [],
              private: %{},
              query_string: "",
              remote_ip: nil,
              req_headers: [],
              request_path: "",
              resp_body: nil,
              resp_headers: [{"cache-control", "max-age=0, private, must-revalidate"}],
              state: :unset,
              status: nil

    @type t :: %__MODULE__{}

    def assign(conn, key, value), do: put_in(conn.assigns[key], value)
    def halt(conn), do: %{conn | halted: true}

    def get_resp_header(conn, name), do: for({^name, value} <- conn.resp_headers, do: value)

    def put_resp_header(conn, name, value),
      do: %{conn | resp_headers: List.keystore(conn.resp_headers, name, 0, {name, value})}

    def merge_resp_headers(conn, headers) do
      Enum.reduce(headers, conn, fn {name, value}, conn -> put_resp_header(conn, name, value) end)
    end

    def put_resp_content_type(conn, type, charset \\ "utf-8")
    def put_resp_content_type(conn, type, nil), do: put_resp_header(conn, "content-type", type)

    def put_resp_content_type(conn, type, charset),
      do: put_resp_header(conn, "content-type", "#{type}; charset=#{charset}")

    def register_before_send(conn, callback) do
      callbacks = [callback | Map.get(conn.private, :before_send, [])]
      %{conn | private: Map.put(conn.private, :before_send, callbacks)}
    end

    # The callback that was registered last runs first.
    def send_resp(%{state: :unset} = conn, status, body) do
      conn = %{conn | status: status, resp_body: body, state: :set}
      callbacks = Map.get(conn.private, :before_send, [])
      conn = Enum.reduce(callbacks, conn, fn callback, conn -> callback.(conn) end)
      {adapter, payload} = conn.adapter

      {:ok, body, payload} =
        adapter.send_resp(payload, conn.status, conn.resp_headers, conn.resp_body)

      %{conn | adapter: {adapter, payload}, resp_body: body, state: :sent}
    end
  end
end
