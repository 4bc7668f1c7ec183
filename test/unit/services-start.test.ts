import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import { containerName, labels } from '../../node/executors/docker-container.ts';
import { startErrorCode } from '../../node/executors/docker-engine.ts';
import { DockerFreezing } from '../../node/executors/docker-freezing.ts';
import { ensureRunBridge } from '../../node/executors/docker-network.ts';
import { type DockerServices, serviceOptions } from '../../node/executors/docker-services.ts';
import { startWithServices } from '../../node/executors/services-start.ts';
import type { Workspace } from '../../node/ports.ts';
import { followServices } from '../../node/runs/service-trace.ts';
import { specOf } from '../contract/executor-steps.ts';
import { plannedService } from '../fixtures/planned-service.ts';

const service = (alias: string) => plannedService(`${alias}:1`, alias);

interface NewNetwork {
  Name: string;
  Labels: Record<string, string>;
  Options?: Record<string, string>;
}

/** What an engine keeps of containers and networks, by the calls that are made here. */
class Engine {
  readonly containers = new Map<string, { Id: string; State: string; Labels: Record<string, string>; on: string }>();
  readonly networks = new Map<string, Record<string, string>>();
  readonly volumes = new Map<string, Record<string, string>>();
  isolated: string[] = [];
  /** How containers stood when the entrypoint was let go. */
  readonly released: string[] = [];
  #number = 0;

  add(name: string, Labels: Record<string, string>, on: string): string {
    const Id = `${name}#${++this.#number}`;
    this.containers.set(Id, { Id, State: 'created', Labels, on });
    return Id;
  }

  run(id: string): void {
    Object.assign(this.containers.get(id) ?? {}, { State: 'running' });
  }

  get docker(): Docker {
    const notFound = Object.assign(new Error('not found'), { statusCode: 404 });
    const has = (Labels: Record<string, string>, label: string): boolean => {
      const [key = '', value] = label.split('=');
      return key in Labels && (value === undefined || Labels[key] === value);
    };
    const container = (Id: string) => ({
      id: Id,
      start: async () => this.run(Id),
      kill: async () => void Object.assign(this.containers.get(Id) ?? {}, { State: 'exited' }),
      remove: async () => void this.containers.delete(Id),
      logs: async () => Buffer.alloc(0),
      inspect: async () => {
        const found = this.containers.get(Id);
        if (!found) throw notFound;
        const Config = { ExposedPorts: { '5432/tcp': {} }, Env: [] };
        return { State: { Running: found.State === 'running', Pid: 0, Health: { Status: 'starting' } }, Config };
      },
      exec: async () => Promise.reject(new Error('no cat')),
    });
    return {
      listContainers: async ({ filters }: { filters: { label: string[] } }) =>
        [...this.containers.values()].filter((one) => filters.label.every((label) => has(one.Labels, label))),
      getContainer: container,
      createContainer: async (asked: {
        _query: { name: string };
        _body: { Labels: Record<string, string>; HostConfig: { NetworkMode: string } };
      }) => container(this.add(asked._query.name, asked._body.Labels, asked._body.HostConfig.NetworkMode)),
      listNetworks: async () => [...this.networks].map(([Id, Labels]) => ({ Id, Labels })),
      createVolume: async ({ Name, Labels }: NewNetwork) => void this.volumes.set(Name, Labels),
      listVolumes: async () => ({ Volumes: [...this.volumes].map(([Name, Labels]) => ({ Name, Labels })) }),
      getVolume: (name: string) => ({ remove: async () => void this.volumes.delete(name) }),
      createNetwork: async ({ Name, Labels, Options = {} }: NewNetwork) => {
        if (Options.isolate === 'true') this.isolated.push(Name);
        this.networks.set(Name, Labels);
      },
      getNetwork: (name: string) => ({
        inspect: async () => (this.networks.has(name) ? {} : Promise.reject(notFound)),
        remove: async () => void this.networks.delete(name),
      }),
    } as unknown as Docker;
  }
}

describe('a job’s place with services', () => {
  const spec = specOf('r1', 'job:1');
  const own = { [labels.node]: 'n', [labels.run]: 'r1' };
  const start = (
    engine: Engine,
    signal: AbortSignal,
    onBegun: () => void,
    onMade: () => Promise<void> = async () => undefined,
    waitMs = 30_000,
  ) =>
    startWithServices({
      ...{
        docker: engine.docker,
        node: 'n',
        run: 'r1',
        spec,
        planned: [service('db')],
        extraHosts: [],
        isPodman: false,
      },
      ...{ waitMs, note: () => undefined, signal },
      takeTree: async () => null,
      ownImage: async () => ({ id: 'sha256:1', user: '', entrypoint: [] }),
      imageOf: async () => ({ id: 'sha256:2', user: '', entrypoint: [] }),
      begin: async ({ network, onHeld }) => {
        onHeld(async () => void engine.released.push([...engine.containers.values()].map(({ State }) => State).join()));
        engine.run(engine.add(containerName('r1'), own, network));
        onBegun();
        return {} as Workspace;
      },
      onMade,
    });

  it('stands, and is watched, before anything runs beside it: an agent that dies then leaves nothing that goes on (J1)', async () => {
    const engine = new Engine();
    const states = () => [...engine.containers.values()].map(({ State }) => State).sort();
    const seen: string[][] = [];
    const stop = new AbortController();
    const watched = async () => {
      seen.push(states());
      await new Promise((resolve) => setTimeout(resolve, 50));
      seen.push(states());
      setTimeout(() => seen.push(states()), 50);
      setTimeout(() => stop.abort(), 100);
    };
    await start(engine, stop.signal, () => undefined, watched).catch(() => undefined);
    expect(seen).toEqual([
      ['created', 'running'],
      ['created', 'running'],
      ['running', 'running'],
    ]);
  });

  it('holds the entrypoint of its own image until its services have begun, as gitlab-runner does', async () => {
    const engine = new Engine();
    const watched = async (): Promise<void> => expect(engine.released).toEqual([]);
    await start(engine, new AbortController().signal, () => undefined, watched, 50);
    expect(engine.released).toEqual(['running,running']);
  });

  it('has a bridge that others do not reach, with Podman only when it is asked for', async () => {
    const engine = new Engine();
    expect(await ensureRunBridge(engine.docker, 'n', 'r1', false)).toBe('autogit-r1');
    expect(engine.isolated).toEqual([]);
    await ensureRunBridge(engine.docker, 'n', 'r2', true);
    expect(engine.isolated).toEqual(['autogit-r2']);
  });

  it('stands still with a service that does not run yet, whatever the engine calls that', async () => {
    const refuses = (statusCode: number, message: string) => ({
      pause: async () => Promise.reject(Object.assign(new Error(message), { statusCode })),
    });
    const podman = `"created" is not running, can't pause: container state improper`;
    const freezing = (container: object) =>
      new DockerFreezing({ container: container as Docker.Container, group: () => null, state: async () => null });
    await freezing(refuses(409, 'Container x is not running')).freeze();
    await freezing(refuses(500, podman)).freeze();
    await expect(freezing(refuses(500, 'no runtime')).freeze()).rejects.toThrow('cannot freeze the run');
  });

  it('goes altogether when the job is ended while it is not watched yet', async () => {
    const engine = new Engine();
    const stop = new AbortController();
    const never = async () => {
      stop.abort();
      throw new Error('no watchdog');
    };
    await expect(start(engine, stop.signal, () => undefined, never)).rejects.toThrow('no watchdog');
    expect([engine.containers.size, engine.networks.size, engine.volumes.size]).toEqual([0, 0, 0]);
  });

  it('goes altogether when the job is ended while its own container stands and a service is waited for', async () => {
    const engine = new Engine();
    engine.add('autogit-r2', { [labels.node]: 'n', [labels.run]: 'r2' }, 'x');
    engine.add('autogit-r1', { [labels.node]: 'other', [labels.run]: 'r1' }, 'x');
    const stop = new AbortController();
    await expect(start(engine, stop.signal, () => setTimeout(() => stop.abort(), 50))).rejects.toThrow();
    expect([...engine.containers.keys()]).toEqual(['autogit-r2#1', 'autogit-r1#2']);
    expect(engine.networks.size).toBe(0);
  });

  it('is begun anew as a whole where a try before it was not answered: its container would be on no network', async () => {
    const engine = new Engine();
    const before = engine.add(containerName('r1'), own, 'gone');
    const stop = new AbortController();
    let seen = true;
    await start(engine, stop.signal, () => {
      seen = engine.containers.has(before);
      stop.abort();
    }).catch(() => undefined);
    expect(seen).toBe(false);
  });

  it('gives all services together no more processes and weight than a job has', () => {
    const services = Array.from({ length: 100 }, (_, at) => ({ planned: service(`s${at}`), imageId: 'sha256:1' }));
    const made = services.map((_, at) =>
      serviceOptions({ spec, node: 'n', network: 'net', extraHosts: [], mounts: [], services }, at),
    );
    const sum = (key: 'PidsLimit' | 'CpuShares'): number =>
      made.reduce((all, { HostConfig }) => all + (HostConfig?.[key] ?? Number.POSITIVE_INFINITY), 0);
    expect(sum('PidsLimit')).toBeLessThanOrEqual(100 * 128);
    expect(sum('CpuShares')).toBeLessThanOrEqual(256);
  });
});

it.each([
  [
    'OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "/no/such": stat /no/such: no such file or directory: unknown',
  ],
  [
    'failed to create task for container: unable to start container process: exec: "psql": executable file not found in $PATH: unknown',
  ],
  ['unable to find user nobody1: no matching entries in passwd file'],
  [
    'crun: executable file `/no/such` not found: No such file or directory: OCI runtime attempted to invoke a command that was not found',
  ],
])('a container whose program or user its image lacks is the job’s own fault: %s', (message) => {
  expect(startErrorCode(Object.assign(new Error(message), { statusCode: 400 }))).toBe('image-unusable');
});

it.each([
  ['no space left on device', 500],
  ['crun: setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied', 409],
  ['driver failed programming external connectivity on endpoint', 500],
  ['error mounting "/proc" to rootfs: no such file or directory', 500],
  ['connect ENOENT /var/run/docker.sock exec: "x"', undefined],
])('whatever else an engine says is this machine’s: %s', (message, statusCode) => {
  expect(startErrorCode(Object.assign(new Error(message), { statusCode }))).toBe('executor-failed');
});

it('reads no more of services that print without end, once the trace takes no more of them', () => {
  const said: string[] = [];
  let asked: AbortSignal | null = null;
  let push: (name: string, lines: string[]) => void = () => undefined;
  const services: Pick<DockerServices, 'follow'> = {
    follow: async (_, onLines, signal) => {
      asked = signal;
      push = onLines;
    },
  };
  const trace = { length: 0, read: () => Buffer.alloc(0), say: (text: string) => void said.push(text) };
  const payload = { variables: [{ key: 'CI_DEBUG_SERVICES', value: 'true' }] };
  const run = { workspace: { services }, payload, trace, options: {}, record: { run: { job: 1 } } };
  const stop = followServices(run as never);
  const signal = asked as AbortSignal | null;
  for (let at = 0; at < 100 && !signal?.aborted; at++) push('db', ['x'.repeat(16_000)]);
  expect(signal?.aborted).toBe(true);
  expect(said.filter((text) => text.includes('more than 1 MiB'))).toHaveLength(1);
  stop();
});
