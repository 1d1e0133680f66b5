/**
 * docker-compose.yml, its Dockerfile and what they mount fit together. No container is started: docs/docker.md says
 * what that leaves unchecked.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(`${ROOT}/${path}`, 'utf8');

interface Service {
  image: string;
  build?: string;
  environment?: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  volumes?: string[];
  ports?: string[];
  healthcheck?: { test: string[]; interval: string; timeout: string; retries: number };
  restart?: string;
}
interface Compose {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
}

const compose = parse(read('docker-compose.yml')) as Compose;
const services = Object.entries(compose.services);
const dockerfile = read('Dockerfile');

function service(name: string): Service {
  const found = compose.services[name];
  if (!found) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
}

/** Compose comes as a program of its own or as a part of docker; either may be missing. */
function composeCommand(): string[] | undefined {
  const ways = [['docker', 'compose'], ['docker-compose']];
  return ways.find(([command = '', ...args]) => spawnSync(command, [...args, 'version']).status === 0);
}

describe('docker-compose.yml', () => {
  const found = composeCommand();

  test.skipIf(!found)('is accepted by compose itself', () => {
    const [command = '', ...args] = found ?? [];
    const run = spawnSync(command, [...args, '-f', 'docker-compose.yml', 'config', '-q'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
  });

  test('has a database, a Temporal server, its Web UI and a worker', () => {
    expect(Object.keys(compose.services).sort()).toEqual(['postgresql', 'temporal', 'ui', 'worker'].sort());
  });

  test.each(services)('%s: the image is pinned, or built here', (_, { image, build }) => {
    if (build) expect(existsSync(`${ROOT}/${build}/Dockerfile`)).toBe(true);
    else expect(image).toMatch(/:\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
  });

  test.each(services)('%s: has a health check and restarts', (_, { healthcheck, restart }) => {
    expect(healthcheck?.test[0]).toBe('CMD');
    expect(healthcheck?.interval).toMatch(/^\d+s$/);
    expect(healthcheck?.retries).toBeGreaterThan(0);
    expect(restart).toBe('unless-stopped');
  });

  test.each(services)('%s: its ports are open to this host only', (_, { ports = [] }) => {
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test('each service waits until the one it needs is healthy', () => {
    expect(service('temporal').depends_on).toEqual({ postgresql: { condition: 'service_healthy' } });
    expect(service('ui').depends_on).toEqual({ temporal: { condition: 'service_healthy' } });
    expect(service('worker').depends_on).toEqual({ temporal: { condition: 'service_healthy' } });
  });

  test('worker and Web UI talk to the Temporal server, which talks to the database with its password', () => {
    expect(service('worker').environment?.TEMPORAL_ADDRESS).toBe('temporal:7233');
    expect(service('ui').environment?.TEMPORAL_ADDRESS).toBe('temporal:7233');
    const { POSTGRES_SEEDS, POSTGRES_USER, POSTGRES_PWD } = service('temporal').environment ?? {};
    const database = service('postgresql').environment ?? {};
    expect(POSTGRES_SEEDS).toBe('postgresql');
    expect(POSTGRES_USER).toBe(database.POSTGRES_USER);
    expect(POSTGRES_PWD).toBe(database.POSTGRES_PASSWORD);
  });

  test('every mounted file exists, and every named volume is declared and used', () => {
    const sources = services.flatMap(([, { volumes = [] }]) =>
      // A colon inside ${…} is part of the default, not a separator.
      volumes.map((volume) => volume.replace(/\$\{\w+:-([^}]*)\}/, '$1').split(':')[0] ?? ''),
    );
    const named = sources.filter((source) => !source.startsWith('.'));
    expect(named.sort()).toEqual(Object.keys(compose.volumes).sort());
    for (const file of sources.filter((source) => source.startsWith('.'))) {
      expect(existsSync(`${ROOT}/${file}`), file).toBe(true);
    }
  });

  test('the dynamic configuration is where the server looks, and has the form the server reads', () => {
    const { environment, volumes = [] } = service('temporal');
    const path = `/etc/temporal/${environment?.DYNAMIC_CONFIG_FILE_PATH}`;
    const file = volumes.find((volume) => volume.includes(`:${path}:`))?.split(':')[0] ?? '';
    const settings = Object.entries(parse(read(file)) as Record<string, unknown>);
    expect(settings.length).toBeGreaterThan(0);
    for (const [, values] of settings)
      expect(values).toEqual([{ value: expect.anything(), constraints: {} }]);
  });
});

describe('Dockerfile', () => {
  test('starts from pinned images', () => {
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
    expect(bases.length).toBeGreaterThan(0);
    for (const image of bases) expect(image).toMatch(/:\d+\.\d+\.\d+-/);
  });

  test('copies only what a clean clone has', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files = '']) =>
      files.split(' '),
    );
    expect(copied).toContain('src');
    for (const file of copied) expect(existsSync(`${ROOT}/${file}`), file).toBe(true);
  });

  test("has what the worker's health check runs", () => {
    const script = service('worker').healthcheck?.test.at(-1)?.replace('/app/', '') ?? '';
    expect(existsSync(`${ROOT}/${script}`)).toBe(true);
    expect(dockerfile).toContain(`COPY ${script} ./`);
  });
});
