# syntax=docker/dockerfile:1

FROM golang:1.26-alpine AS build

# Where modules come from; "direct" asks their own repositories, and needs git.
ARG GOPROXY=direct
# Build tags: pprof serves /debug/pprof/ on the admin listener.
ARG TAGS=""
# What -version says.
ARG VERSION=devel
ARG ALPINE_MIRROR=https://mirrors.ustc.edu.cn

RUN sed -i "s|https*://[^/]*/alpine|${ALPINE_MIRROR}/alpine|" /etc/apk/repositories \
 && apk add --no-cache ca-certificates git

WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOPROXY="${GOPROXY}" go build -trimpath -tags "${TAGS}" \
      -ldflags "-s -w -X main.version=${VERSION}" -o /out/cache-proxy ./cmd/cache-proxy

FROM alpine:3.23

# The authorities that mirrors are checked against, of the build's own image: no
# package is fetched here.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/cache-proxy /bin/cache-proxy

# A user without privileges, and the only folder that it may write.
RUN adduser -D -H -u 8881 -s /sbin/nologin cache-proxy \
 && mkdir /data && chown cache-proxy:cache-proxy /data

# ./config.yaml is /config.yaml and ./data is /data. Without the former, the
# embedded default runs.
WORKDIR /
USER cache-proxy
VOLUME /data
EXPOSE 8881
STOPSIGNAL SIGTERM
# For the default port; with another one in listen, give the container its own.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s \
  CMD wget -q -O /dev/null http://127.0.0.1:8881/-/healthz || exit 1
ENTRYPOINT ["/bin/cache-proxy"]
