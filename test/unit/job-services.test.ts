import { describe, expect, it } from 'vitest';
import { plannedServices } from '../../gitlab-bridge/job-services.ts';
import { Mask } from '../../gitlab-bridge/mask.ts';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { jobVariables, lookUpIn, secretsOf } from '../../gitlab-bridge/variables.ts';
import { volumeAt } from '../../node/executors/docker-container.ts';
import { isOfPlatform } from '../../node/executors/docker-image.ts';
import { serviceOptions } from '../../node/executors/docker-services.ts';
import { registryLogin } from '../../node/executors/registry-login.ts';
import { listeningPorts, lookOf, portsOf } from '../../node/executors/service-health.ts';
import { LineReader, linesOf, sinceOf } from '../../node/executors/service-log.ts';
import { serviceLine } from '../../node/runs/job-script.ts';
import { specOf } from '../contract/executor-steps.ts';

const digest = `@sha256:${'ab'.repeat(32)}`;
const facts = {
  ...{ projectDir: '/builds/g/p', buildsDir: '/builds', node: 'n', version: '1', architecture: 'amd64' },
  ...{ executor: 'docker', slots: { all: 0, project: 0 }, runnerKey: 'k' },
};
const payload = (services: object[], variables: object[] = []): JobPayload =>
  JobPayload.parse({ id: 7, token: 'glcbt-token-of-7', job_info: { project_id: 1 }, services, variables });
const plan = (services: object[], variables: object[] = []) => {
  const job = payload(services, variables);
  const all = jobVariables(job, facts);
  return plannedServices(job, all, lookUpIn(all, facts.projectDir));
};
const publicly = (key: string, value: string) => ({ key, value, public: true });

describe('what services: of a job means', () => {
  it.each([
    ['postgres', 'postgres:latest', 'postgres:latest', ['postgres']],
    ['postgres:16-alpine', 'postgres:16-alpine', 'postgres:16-alpine', ['postgres']],
    ['tutum/wordpress', 'tutum/wordpress:latest', 'tutum/wordpress:latest', ['tutum__wordpress', 'tutum-wordpress']],
    [
      'registry.lab:4999/tutum/wordpress:5',
      'registry.lab:4999/tutum/wordpress:5',
      'registry.lab/tutum/wordpress:5',
      ['registry.lab__tutum__wordpress', 'registry.lab-tutum-wordpress'],
    ],
    [
      `localhost:5000/db${digest}`,
      `localhost:5000/db${digest}`,
      `localhost/db${digest}`,
      ['localhost__db', 'localhost-db'],
    ],
    [`db:2${digest}`, `db:2${digest}`, 'db:2', ['db']],
  ])('%s: its image, its title and both forms of its names', (name, image, title, aliases) => {
    const { services, warnings } = plan([{ name }]);
    expect(services).toMatchObject([{ image, title, aliases }]);
    expect(warnings).toEqual([]);
  });

  it('is named with what the job calls it where two are of one image', () => {
    const { services } = plan([
      { name: 'postgres:16' },
      { name: 'postgres:16', alias: 'db-2' },
      { name: 'redis:7', alias: 'db' },
    ]);
    expect(services.map(({ title }) => title)).toEqual(['postgres:16 (postgres)', 'postgres:16 (db-2)', 'redis:7']);
  });

  it('has several aliases, and each name leads to one service only', () => {
    const { services, warnings } = plan(
      [{ name: 'my/db:$V', alias: 'one, two  $NAME' }, { name: 'my/db:2', alias: 'other,two' }, { name: 'my/db:3' }],
      [publicly('V', '1'), publicly('NAME', 'three')],
    );
    expect(services.map(({ title, aliases }) => [title, aliases])).toEqual([
      ['my/db:1', ['my__db', 'my-db', 'one', 'two', 'three']],
      ['my/db:2', ['other']],
    ]);
    expect(warnings).toContain(
      'Skipping alias "two" for service "my/db:2" (services[1]): alias is already in use by another service',
    );
    expect(warnings.at(-1)).toBe('Service my/db:3 is not started a second time: give each one an alias of its own');
  });

  it('that is an engine in a container is said to be of no use here, and what is instead', () => {
    const named = (name: string) => plan([{ name }]).warnings;
    for (const name of [
      'docker:dind',
      'docker:28.0.4-dind',
      'docker.io/library/docker:24-dind-rootless',
      'r.lab:5000/docker:dind',
    ])
      expect(named(name), name).toEqual([expect.stringContaining('needs to be privileged, which no job is here')]);
    for (const name of ['docker:cli', 'my-docker:dind', 'redis:7-dindon']) expect(named(name), name).toEqual([]);
  });

  it('sees what GitLab calls public, and of secrets what its own variables name', () => {
    const { services } = plan(
      [
        {
          name: 'db',
          variables: [
            publicly('PASSWORD', 'p-$SECRET'),
            { key: 'RAW', value: '$SECRET', raw: true },
            publicly('MODE', '$MODE-db'),
            publicly('BOTH', '$RAW/$CI_PROJECT_DIR'),
          ],
        },
      ],
      [
        publicly('MODE', 'test'),
        { key: 'SECRET', value: 'hidden-from-all', public: false, masked: true },
        { key: 'CERT', value: 'pem', public: true, file: true },
        publicly('BIG', 'x'.repeat(200_000)),
        publicly('EXPANDED', '$$5 $NONE'),
      ],
    );
    const environment = Object.fromEntries(services[0]?.environment.map(({ key, value }) => [key, value]) ?? []);
    expect(environment).toMatchObject({
      PASSWORD: 'p-hidden-from-all',
      RAW: '$SECRET',
      MODE: 'test-db',
      BOTH: '$SECRET//builds/g/p',
      CERT: '/builds/g/p.tmp/CERT',
      EXPANDED: '$5 ',
      CI_PROJECT_DIR: '/builds/g/p',
    });
    expect(Object.keys(environment)).not.toContain('SECRET');
    expect(Object.keys(environment)).not.toContain('BIG');
  });

  it('keeps secrets of its own out of the trace, and names what no program can be given', () => {
    const variables = [{ key: 'P', value: 'of-the-service', masked: true }, publicly('A=B', '1')];
    expect(secretsOf(payload([{ name: 'db', variables }]))).toContain('of-the-service');
    expect(plan([{ name: 'db', variables }]).warnings).toEqual([
      'Variables that no program can be given, not set in service db:latest: A=B',
    ]);
  });

  it('takes entrypoint, command, user and platform as they are written', () => {
    const docker = { user: '$WHO', platform: 'linux/arm64' };
    const [service] = plan(
      [
        {
          name: 'db',
          entrypoint: ['/e', '$X'],
          command: ['-c', 'a b'],
          pull_policy: ['never'],
          executor_opts: { docker },
        },
      ],
      [publicly('WHO', '70:70')],
    ).services;
    expect(service).toMatchObject({
      ...{ entrypoint: ['/e', '$X'], command: ['-c', 'a b'], pullPolicies: ['never'] },
      ...{ user: '70:70', platform: 'linux/arm64' },
    });
    const services = [{ planned: service as never, imageId: 'sha256:1' }];
    const mounts = [volumeAt('autogit-r1-builds', '/builds'), volumeAt('autogit-n-tree-k', '/builds/g/p')];
    const spec = specOf('r1', 'x', { cpuMillis: 500, memoryBytes: 64 << 20 });
    const made = serviceOptions({ spec, node: 'n', network: 'net', extraHosts: ['a:1.2.3.4'], mounts, services }, 0);
    expect(made).toMatchObject({
      ...{ name: 'autogit-r1-svc-0', Entrypoint: ['/e', '$X'], Cmd: ['-c', 'a b'], User: '70:70' },
      HostConfig: {
        Memory: 64 << 20,
        NanoCpus: 500_000_000,
        PidsLimit: 8192,
        Privileged: false,
        NetworkMode: 'net',
        Mounts: mounts,
      },
      NetworkingConfig: { EndpointsConfig: { net: { Aliases: ['db'] } } },
    });
    expect(made.Env?.at(-1)).toBe('NVIDIA_VISIBLE_DEVICES=void');
  });

  it('is pulled with the logins that came with the job, after the job’s own', () => {
    const logins = [{ url: 'gitlab.lab:443', username: 'gitlab-ci-token', password: 'tok' }];
    const image = 'gitlab.lab:443/g/dependency_proxy/containers/postgres:16';
    expect(registryLogin(image, [], logins)).toMatchObject({ username: 'gitlab-ci-token', password: 'tok' });
    expect(registryLogin('postgres', [], logins)).toBeNull();
    const own = { auths: { 'gitlab.lab:443': { auth: Buffer.from('me:mine').toString('base64') } } };
    const variables = [{ key: 'DOCKER_AUTH_CONFIG', value: JSON.stringify(own), file: false }];
    expect(registryLogin(image, variables, logins)).toMatchObject({ username: 'me' });
  });

  it('knows an image of another platform', () => {
    const image = { Os: 'linux', Architecture: 'arm64', Variant: 'v8' };
    expect(['linux/arm64', 'linux/aarch64', 'arm64', 'linux/arm64/v8'].map((one) => isOfPlatform(image, one))).toEqual(
      Array(4).fill(true),
    );
    expect(['linux/amd64', 'windows/arm64', 'linux/arm64/v9'].map((one) => isOfPlatform(image, one))).toEqual(
      Array(3).fill(false),
    );
  });
});

describe('whether a service is ready', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:1538 00000000:0000 0A 00000000:00000000
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   2: 020011AC:0050 00000000:0000 0A 00000000:00000000
   3: 020011AC:D431 08080808:01BB 01 00000000:00000000
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:2328 00000000000000000000000000000000:0000 0A
   2: 0000000000000000FFFF00000100007F:2329 00000000000000000000000000000000:0000 0A
`;
  const state = (more: object = {}) => ({ Running: true, ExitCode: 0, OOMKilled: false, Error: '', ...more });
  const found = (ports: string[], more: object = {}, Env: string[] = []) =>
    ({
      State: state(more),
      Config: { ExposedPorts: Object.fromEntries(ports.map((port) => [port, {}])), Env },
    }) as never;

  it('counts ports that others can reach', () => {
    expect([...listeningPorts(table)].sort((a, b) => a - b)).toEqual([80, 5432, 6379]);
    expect([...listeningPorts('no such file')]).toEqual([]);
  });

  it('waits for one of the exposed TCP ports, or for the one that the variable names', () => {
    const ports = ['8443/tcp', '53/udp', '80/tcp', '9000-9010/tcp'];
    expect(portsOf(found(ports))).toEqual([80, 8443, 9000]);
    expect(portsOf(found(ports, {}, ['healthcheck_tcp_port=8443']))).toEqual([8443]);
    expect(lookOf(found(ports), new Set([80]))).toEqual({ is: 'ready' });
    expect(lookOf(found(ports), new Set([53]))).toMatchObject({ is: 'waiting' });
    expect(lookOf(found(['5432/tcp']), new Set())).toEqual({ is: 'waiting', because: 'port 5432 does not answer' });
    expect(lookOf(found(['5432/tcp']), null)).toMatchObject({ is: 'over' });
  });

  it('believes a HEALTHCHECK, sees who has died, and waits for nothing where there is nothing to see', () => {
    expect(lookOf(found([], { Health: { Status: 'starting' } }), null)).toMatchObject({ is: 'waiting' });
    expect(lookOf(found([], { Health: { Status: 'healthy' } }), null)).toEqual({ is: 'ready' });
    expect(lookOf(found(['1/tcp'], { Health: { Status: 'unhealthy' } }), new Set([1]))).toEqual({ is: 'ready' });
    expect(lookOf(found([]), new Set([1]))).toEqual({ is: 'silent' });
    const dead = { Running: false, ExitCode: 137, OOMKilled: true };
    expect(lookOf(found(['1/tcp'], dead), null)).toEqual({
      is: 'over',
      because: 'it has ended (exit code 137, out of memory)',
    });
  });
});

describe('what a service prints', () => {
  const at = (second: number): string => `2026-11-29T16:00:0${second}.000000000Z `;
  /** As the engine sends a record of its log. */
  const frame = (stream: number, text: string): Buffer => {
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };

  it('is masked whatever the engine cut it into: a secret across its pieces of 16 KiB, or at the limit of a line', () => {
    const secret = 'very-secret-word';
    const shown = (lines: string[]): string => {
      const mask = new Mask([secret]);
      return lines.map((line) => mask.push(Buffer.from(`${line}\n`)) + mask.flush().toString()).join('');
    };
    const reader = new LineReader();
    const text = `${'x'.repeat((16 << 10) - 5)}${secret} tail`;
    const pieces = [text.slice(0, 16 << 10), `${text.slice(16 << 10)}\n`];
    const lines = pieces.flatMap((piece) => reader.push(Buffer.from(at(1) + piece)));
    expect(shown(lines)).toBe(`${at(1)}${'x'.repeat((16 << 10) - 5)}[MASKED] tail\n`);
    const long = reader.push(Buffer.from(`${at(2)}${'x'.repeat((64 << 10) - 40)}${secret}\n`));
    expect(shown(long)).not.toContain('very');
    // The newest records of a longer log begin in the middle of a line; and the two streams come between each other.
    const log = [
      frame(1, `${at(1)}-word\n`),
      frame(1, `${at(2)}very-sec`),
      frame(2, `${at(3)}other\n`),
      frame(1, `${at(2)}ret-word\n`),
    ];
    expect(linesOf(Buffer.concat(log), 3)).toEqual([secret]);
    expect(linesOf(Buffer.concat(log.slice(1)), 3)).toEqual([secret, 'other']);
  });

  it('comes in whole lines, and goes on behind the last one that is known', () => {
    const reader = new LineReader();
    expect(reader.push(Buffer.from('a\r\nb'))).toEqual(['a']);
    expect(reader.push(Buffer.from('c\n'))).toEqual(['bc']);
    reader.push(Buffer.from(`${at(1)}${'x'.repeat(40_000)}`));
    reader.push(Buffer.from(`${at(1)}${'x'.repeat(40_000)}`));
    expect(reader.push(Buffer.from(`${at(1)}y\nend`))).toEqual([`${at(1)}(a line of more than 64 KiB is left out)`]);
    expect(reader.flush()).toEqual(['end']);
    expect(sinceOf('2026-11-29T16:00:01.123456789Z')).toBe('1795968001.123456789');
    expect(sinceOf('yesterday')).toBeNull();
    const lines = ['2026-11-29T16:00:01.123456789Z one', '2026-11-29T16:00:02.000000000Z two'];
    const trace = `before\n${lines.map((line) => serviceLine.of('db-mine', line)).join('')}after [service:other] x\n`;
    expect(serviceLine.lastTime(trace, 'db-mine')).toBe('2026-11-29T16:00:02.000000000Z');
    expect(serviceLine.lastTime(trace, 'none')).toBeNull();
    expect(trace.match(serviceLine.any)?.length).toBe(2);
  });
});
