# What the guides use of Phoenix, Oban and Absinthe. Real libraries on the code path take their place.
unless Code.ensure_loaded?(Phoenix.Channel) do
  defmodule Phoenix.Socket do
    @moduledoc false
    defstruct assigns: %{}, endpoint: nil
    defmacro __using__(_options), do: quote(do: import(Phoenix.Socket))
    defmacro channel(_topic, _module), do: nil
    def assign(socket, key, value), do: put_in(socket.assigns[key], value)
  end

  defmodule Phoenix.Token do
    @moduledoc false
    def sign(_context, salt, data), do: {salt, data}
    def verify(_context, salt, {salt, data}), do: {:ok, data}
    def verify(_context, _salt, _token), do: {:error, :invalid}
  end

  defmodule Phoenix.Channel do
    @moduledoc false
    defmacro __using__(_options), do: nil
  end
end

unless Code.ensure_loaded?(Oban.Worker) do
  defmodule Oban.Job do
    @moduledoc false
    defstruct args: %{}
  end

  defmodule Oban.Worker do
    @moduledoc false
    defmacro __using__(_options), do: nil
  end
end

unless Code.ensure_loaded?(Absinthe.Phase) do
  defmodule Absinthe.Phase do
    @moduledoc false
    defmacro __using__(_options), do: nil
  end

  defmodule Absinthe.Phase.Error do
    @moduledoc false
    defstruct [:phase, :message, extra: %{}, locations: [], path: []]
  end

  defmodule Absinthe.Blueprint do
    @moduledoc false
    defstruct operations: [], execution: %{context: %{}, validation_errors: []}
    def current_operation(blueprint), do: Enum.find(blueprint.operations, & &1.current)
  end

  defmodule Absinthe.Pipeline do
    @moduledoc false
    def insert_after(pipeline, phase, new) do
      {before, [^phase | later]} = Enum.split_while(pipeline, &(&1 != phase))
      before ++ [phase, new | later]
    end
  end
end

unless Code.ensure_loaded?(Absinthe.Plug) do
  defmodule Absinthe.Plug do
    @moduledoc false
    def default_pipeline(config, _options), do: config
  end
end
