defmodule RateLimiter.Support.Viewed do
  @moduledoc false
  # A view of a node with all that a page can show, and with names that try to break out of it.

  @name :"<script>hacked=1</script>\"'&\u202E"

  @doc "Returns the name of its limiter, which is also that of its window, subsystem and others."
  def name, do: @name

  @doc "Returns a view."
  def view do
    hostile = Atom.to_string(@name)

    %{
      node: :"shop@<b>db1</b>",
      date: ~U[2026-01-02 03:04:05Z],
      problem: nil,
      ages: [8.0, 6.0, 4.0, 2.0, 0.0],
      instances: [
        %{
          name: inspect(@name),
          health: {:degraded, {:heartbeat, hostile}},
          store: :redis,
          keys: 12_345,
          memory: 3 * 1_048_576,
          rates: %{calls: 1_200, denied: 300},
          history: [{100, 0}, {300, 100}, nil, {900, 300}, {500, 100}],
          hidden: 7,
          redis: %{
            nodes: 3,
            problem: hostile,
            rates: %{calls: 10, batches: 2, timeouts: 0, refused: 0},
            servers: [
              %{
                server: hostile,
                breaker: :opened,
                connections: 0,
                pending: 2,
                round_trip_us: nil,
                problem: hostile
              }
            ]
          },
          limiters: [
            %{
              name: @name,
              scale: 0.42,
              checks: 100,
              denials: 30,
              keys: 9,
              rates: %{calls: 1_200, denied: 300},
              history: [{100, 0}, {300, 100}, nil, {900, 300}, {500, 100}],
              windows: [
                %{
                  name: @name,
                  limit: "10/s",
                  max: 20,
                  checks: 100,
                  denials: 30,
                  rates: %{calls: 1_200, denied: 300},
                  callers: [%{id: hostile, calls: 81, denied: 17}]
                }
              ]
            }
          ],
          subsystems: [
            %{
              name: @name,
              limit: "10/s",
              scale: 0.5,
              stress: 0.7,
              binding: inspect({:pain, hostile}),
              sentence: hostile,
              rates: %{calls: 10, denied: 1, shed: 2},
              in_flight: 6,
              guard: 7,
              open: 0.5,
              contained: [@name],
              dry_run: false
            }
          ],
          sensors: %{@name => %{value: 0.5, stress: 0.0, no_opinion: nil}}
        }
      ]
    }
  end
end
