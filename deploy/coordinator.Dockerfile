# The coordinator with its dashboard. Not run where this was written: there is no container engine on that machine.
#   docker build --file deploy/coordinator.Dockerfile --tag starling-coordinator .
FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates build-essential pkg-config libssl-dev git curl nodejs npm rustup \
 && rm -rf /var/lib/apt/lists/*
RUN rustup default stable && rustup target add wasm32-unknown-unknown
WORKDIR /starling
COPY . .
RUN npm ci --no-audit --no-fund \
 && cargo xtask dashboard \
 && cargo build --release --package starling-coordinator

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --home-dir /var/lib/starling starling
COPY --from=build /starling/target/release/starling-coordinator /usr/local/bin/
COPY --from=build /starling/target/dashboard /usr/share/starling/dashboard
USER starling
VOLUME /var/lib/starling
EXPOSE 8080
HEALTHCHECK CMD curl --fail --silent http://127.0.0.1:9090/health
ENTRYPOINT ["starling-coordinator", "--json-log", "--config", "/etc/starling/coordinator.toml"]
