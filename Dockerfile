# Isthmus in a container. docs/install-container.md tells how it is run and with what.
#
#   docker build -t isthmus .

# ---- build: compilers, headers and development dependencies stay here ---------------------------------------------------------------
FROM docker.io/library/node:24-bookworm AS build
WORKDIR /build
# The image carries the headers of its own Node. Named here, neither the addon nor raw-socket downloads others while it is compiled.
ENV npm_config_nodedir=/usr/local \
    npm_config_update_notifier=false \
    npm_config_fund=false \
    npm_config_audit=false

# What changes seldom comes first: the compiled dependencies are rebuilt only when one of these changes.
COPY package.json package-lock.json ./
COPY native ./native
RUN npm ci

COPY tsconfig.json ./
COPY src ./src
RUN node_modules/.bin/tsc -p . \
 && npm prune --omit=dev --ignore-scripts \
 # 60 MB that only join, leave and grant need, which are run by a person on another machine.
 && npm uninstall --no-save --omit=dev --ignore-scripts @kubernetes/client-node \
 # Maps of sources that are not in the image, what only a compiler reads, and documentation.
 && find dist node_modules -type f \( -name '*.map' -o -name '*.md' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' \) -delete \
 && find node_modules/raw-socket -mindepth 1 -maxdepth 1 ! -name index.js ! -name package.json ! -name build -exec rm -rf {} + \
 && find node_modules/raw-socket/build -type f ! -path '*/Release/raw.node' -delete \
 && rm -rf node_modules/nan node_modules/.package-lock.json node_modules/.bin \
 && strip --strip-unneeded native/build/Release/isthmus.node node_modules/raw-socket/build/Release/raw.node \
 && mkdir -p /image/opt/isthmus/native/build/Release /image/usr/local/bin /image/etc/isthmus /image/var/lib/isthmus \
 && cp -a package.json node_modules dist /image/opt/isthmus/ \
 && cp native/install.mjs /image/opt/isthmus/native/ \
 && cp native/build/Release/isthmus.node /image/opt/isthmus/native/build/Release/ \
 && chmod 0755 /image/opt/isthmus/dist/src/main.js \
 && ln -s /opt/isthmus/dist/src/main.js /image/usr/local/bin/isthmus \
 && find /image -depth -type d -empty ! -path '/image/etc/*' ! -path '/image/var/*' -delete

# A process that is not root gets a capability only from the file it executes or as an ambient one, and neither Docker nor Kubernetes
# hands out ambient ones. So Node carries exactly the two as file capabilities. They are a limit, not a gift: the kernel refuses to
# start it (EPERM) where the container was not given both.
RUN command -v setcap > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends libcap2-bin; }
RUN cp /usr/local/bin/node /image/usr/local/bin/node \
 && strip --strip-unneeded /image/usr/local/bin/node \
 && setcap cap_net_admin,cap_net_raw=ep /image/usr/local/bin/node \
 && chown 65532:65532 /image/var/lib/isthmus \
 && chmod 0750 /image/var/lib/isthmus

# nft is a child of Node and has nothing from it. It can do no more than Node: the kernel gives it what the container was given too.
RUN command -v nft > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends nftables; }
RUN mkdir -p /image/usr/sbin \
 && cp /usr/sbin/nft /image/usr/sbin/nft \
 && setcap cap_net_admin=ep /image/usr/sbin/nft

# ---- base: the slim image less what a gateway must not have -------------------------------------------------------------------------
FROM docker.io/library/node:24-bookworm-slim AS base
# For the libraries of nft, which services.masquerade and services.keepSource need.
RUN command -v nft > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends nftables; }
# Node itself goes too: the one with capabilities takes its place. Without setuid programs nothing in the image leads to root.
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /usr/local/share /usr/local/bin/* /opt/* \
      /var/cache/* /var/lib/apt/lists/* /var/log/* /usr/share/doc /usr/share/man /usr/share/locale /home/node \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# ---- the image: one flat layer, because a file that a later layer removes still takes its place in an earlier one -------------------
FROM scratch
COPY --from=base / /
COPY --from=build /image /

LABEL org.opencontainers.image.title="isthmus" \
      org.opencontainers.image.description="IPIP encapsulation gateway that joins clusters whose routers cannot be changed" \
      org.opencontainers.image.licenses="Apache-2.0"

# The base's environment is not copied with its files.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    NODE_ENV=production

# A number, because Kubernetes compares numbers for runAsNonRoot. It has no name and no home in the image.
USER 65532:65532
WORKDIR /

# No HEALTHCHECK: it would start another Node every few seconds, and Kubernetes ignores it. /healthz and /readyz are for probes,
# `isthmus status` is for people.
# No init: the gateway handles its signals as process 1, and Node reaps its only children, short runs of nft.
# Node itself and not the script, whose first line goes by env: env has no file capabilities, and with allowPrivilegeEscalation: false
# the kernel gives Node none that the process before it did not have.
ENTRYPOINT ["node", "/opt/isthmus/dist/src/main.js"]
CMD ["run", "-c", "/etc/isthmus/isthmus.yaml"]
