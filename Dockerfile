# A Signalbox worker, which is also the `signalbox` command line. Agents run inside this container: put the programs
# that your fleet starts into an image of your own, `FROM signalbox-worker:local` (docs/docker.md).
FROM node:20.20.2-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY scripts ./scripts
COPY src ./src
COPY workflows ./workflows
COPY activities ./activities
COPY worker ./worker
RUN node scripts/build.mjs && npm prune --omit=dev

FROM node:20.20.2-bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git openssh-client procps \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY docker/healthcheck.mjs ./docker/
RUN ln -s /app/dist/src/cli/main.js /usr/local/bin/signalbox \
  && install -d -o node -g node /var/lib/signalbox /fleet
ENV NODE_ENV=production SIGNALBOX_HOME=/var/lib/signalbox
USER node
WORKDIR /fleet
VOLUME /var/lib/signalbox
ENTRYPOINT ["signalbox"]
CMD ["worker"]
