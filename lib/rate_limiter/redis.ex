defmodule RateLimiter.Redis do
  @moduledoc """
  A store that nodes share: limits that hold across all of them, counted in Redis or Valkey.

      {RateLimiter,
       store: {:redis, url: "redis://localhost:6379", password: {:system, "REDIS_PASSWORD"}},
       limiters: [api: [windows: [burst: [limit: 100, per: :second]], on_outage: :share]]}

  All calls of `RateLimiter` are the same. A check is decided in Redis, in one step and by its clock, and costs one round
  trip that it shares with the checks that wait at the same time. No fault of Redis raises in the caller or makes it
  wait longer than `:timeout`.

  ## While Redis is away

  Each limiter's option `:on_outage` says what happens. With `:share`, the default, every node goes on with its part of
  the limit, from where Redis was last seen, and answers have `source: :fallback`. When Redis is back, it is told what was
  let through meanwhile, before anything else about that id. With `:allow` all calls are let through but those whose cost
  is negative or above the maximum, which Redis would never allow either. With `:deny` the answer is
  `{:error, :unavailable, usage}`, also from `RateLimiter.refund/4`, and from `RateLimiter.get_usage_batch/3`
  `{:error, :unavailable, nil}`.

  Whatever `:on_outage` says, `RateLimiter.reset/3` is `{:error, :unavailable, nil}` then, since this node cannot forget for the
  others, and `RateLimiter.refund/4` is `{:error, :unavailable, usage}` where Redis did not answer and may have done it: done
  again, it would give back twice.

  ## Options

  #{RateLimiter.Redis.Config.docs()}

  Several instances may share a Redis: limiters of one prefix and one name are one limiter. So are they on nodes, which
  should give it the same windows. `RateLimiter.update_limit/3` changes the node where it is called, and each node judges
  by its own limit until it was told, too.
  """

  alias RateLimiter.Instance
  alias RateLimiter.Core.Options
  alias RateLimiter.Instance.Registry
  alias RateLimiter.Redis.{Credentials, Secret}

  @credentials [
    username: [type: {:custom, &RateLimiter.Redis.Config.text?/1, "a string"}],
    password: [type: Secret.type(), required: true, secret: true]
  ]

  @doc """
  Uses another password, and user, from now on. Connections are made anew with it before the old ones are given up.

  Takes `:password` and, where it is not the server's default user, `:username`, as the options of the store do; and
  the name of the instance. Returns `:ok` when the password was read, before it is tried.

      RateLimiter.Redis.put_credentials(username: "limiter", password: "new")

  Raises `ArgumentError` where an option is wrong, the password cannot be read, or the instance has no Redis.
  """
  @spec put_credentials(keyword, instance :: term) :: :ok
  def put_credentials(options, instance \\ RateLimiter) do
    unless Keyword.keyword?(options), do: Options.hidden!([], "a keyword list with :password")
    %{username: username, password: password} = Options.validate!(options, @credentials, [])

    case Registry.fetch!(instance) do
      %Instance{store: {:redis, _store}} = instance ->
        Credentials.put!(instance, %{username: username, password: Secret.hide(password)})

      _local ->
        raise ArgumentError, "the instance #{inspect(instance)} has no Redis, its store is :local"
    end
  end
end
