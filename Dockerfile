# The image is one static binary and what it needs to trust Azure. The same
# sources and version give the same binary, wherever they are built.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$VERSION" -o /tidegate ./cmd/tidegate

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="Tidegate" \
      org.opencontainers.image.description="Machines for batch pods on k3s and Azure scale sets" \
      org.opencontainers.image.source="https://github.com/tidegate-k3s/tidegate" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY LICENSE /
COPY --from=build /tidegate /
USER 65532:65532
ENTRYPOINT ["/tidegate"]
