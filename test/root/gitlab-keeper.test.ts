import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { freezeCgroup, thawCgroup } from '../../node/executors/run-cgroup.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';
import { makeAdminToken, revokeOlderTokens } from '../../node/hosting/gitlab-first-setup.ts';
import { isRefusedInside } from '../../node/hosting/gitlab-inside.ts';
import { GitlabKeeper } from '../../node/hosting/gitlab-keeper.ts';
import type { BehindGate } from '../../node/hosting/lease-at-gate.ts';
import { ownHooks } from '../../node/hosting/push/push-hook.ts';
import { bridgeOf } from '../../node/hosting/service-container.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { People } from '../../node/settings/people-list.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import { standInImage } from '../gitlab-image/stand-in-image.ts';

/** SAFETY H2, H8. A hosted GitLab's whole life on a real engine: the stand-in as its image, a folder as its place, a lease that the test gives. */
const clock = systemClock();
const folder = mkdtempSync('/var/tmp/t-gitlab-keeper-');
const data = `t-keeper-${process.pid}`;
const name = `autogit-gitlab-${data}`;
const mesh = `t-keeper-mesh-${process.pid}`;
const fast = `autogit-test:gitlab-keeper-${process.pid}`;
const host = new DockerServiceHost(null, clock);
const redis = (...words: string[]): string => docker('exec', name, 'gitlab-redis-cli', ...words);
const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();

const ledger = {
  mesh: { id: mesh, name: 'home' },
  gitlab: {
    mode: 'hosted',
    url: null,
    token: null as string | null,
    instance: null,
    host: 'kang',
    epoch: 2,
    hosted: {} as HostedGitlab,
  },
};
const seen: (GitlabSeen | null)[] = [];
const changes: Change[] = [];
const closed: number[] = [];
const warned: string[] = [];
let behind: (BehindGate & { epoch: number }) | null = null;
let hasLease = true;
let people: People = { users: [], groups: [] };

const place = (): DataPlace => {
  const at = (name: string): string => join(folder, 'place', name);
  for (const one of ['config', 'data', 'bulk', 'logs']) mkdirSync(at(one), { recursive: true });
  return {
    kind: 'folder',
    path: join(folder, 'place'),
    notices: [],
    folders: { config: at('config'), data: at('data'), bulk: at('bulk'), logs: at('logs') },
    freeBytes: () => 2 ** 40,
    check: async () => undefined,
    checkInside: (pid) => {
      const inside = statSync(`/proc/${pid}/root/var/opt/gitlab`);
      if (inside.ino !== statSync(at('data')).ino) throw new Error('another folder is mounted');
    },
    tend: async () => [],
    withPrograms: (act) => act(),
    makeRoom: async () => undefined,
    letGo: async () => undefined,
    close: async () => undefined,
  };
};

function keeper(): GitlabKeeper {
  const log = { info: () => undefined, warn: (sentence: string) => void warned.push(sentence) };
  return new GitlabKeeper({
    tools: systemTools,
    self: 'kang',
    home: folder,
    clock,
    log,
    host,
    people: async () => people,
    ledger: () => ledger as unknown as Ledger,
    openPlace: async (_hosting, create) => {
      if (!create && !existsSync(join(folder, 'place'))) throw new Error('it is not there');
      return place();
    },
    removePlace: async () => rmSync(join(folder, 'place'), { recursive: true }),
    gateFor: () => ({
      renew: async (lease) => {
        behind = lease;
      },
      close: async () => {
        behind = null;
      },
      end: async () => undefined,
      problems: () => [],
    }),
    change: async (change) => {
      changes.push(change);
      if (change.kind === 'gitlab-stands')
        Object.assign(ledger.gitlab, { url: change.url, token: change.token, instance: change.instance });
      return { state: 'done', because: '' };
    },
    seal: (text) => `sealed ${text}`,
    unseal: (text) => text.replace(/^sealed /, ''),
    sealForVoters: (text) => `voters ${text}`,
    meshToken: () => ledger.gitlab.token?.replace(/^voters /, '') ?? null,
    report: (one) => void seen.push(one),
    onGateClosed: (epoch) => void closed.push(epoch),
  });
}

let now: GitlabKeeper;
const lease = setInterval(() => hasLease && now?.holdLease(ledger.gitlab.epoch, clock.bootMs() + 4000), 500);
const last = (): GitlabSeen | null => seen.at(-1) ?? null;
const inspect = (format: string): string => docker('inspect', '-f', format, name);
const reaches = async (what: () => unknown, wanted: unknown): Promise<void> => {
  const told = () => JSON.stringify([last(), warned.slice(-3)]);
  await expect.poll(what, { timeout: 40_000, interval: 100, message: told() }).toEqual(wanted);
};

beforeAll(async () => {
  const made = docker('create', await standInImage(), 'true');
  const quick = ['ENV STAND_IN_BOOT_SECONDS=1 STAND_IN_RECONFIGURE_SECONDS=0', 'CMD ["/assets/init-container"]'];
  docker('commit', ...quick.flatMap((change) => ['--change', change]), made, fast);
  docker('rm', made);
  ledger.gitlab.hosted = {
    data,
    image: fast,
    preset: 'minimal',
    place: { kind: 'folder', path: join(folder, 'place') },
    hostname: 'gitlab.test',
    port: 8080,
    sshPort: null,
    since: 1,
    because: 'a test',
  };
}, 300_000);

afterAll(async () => {
  clearInterval(lease);
  await now?.stop();
  for (const one of [name, `${name}-old`]) spawnSync('docker', ['rm', '-fv', one], { stdio: 'ignore' });
  spawnSync('docker', ['network', 'rm', name], { stdio: 'ignore' });
  spawnSync('docker', ['rmi', fast], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

describe('a GitLab that the mesh hosts', () => {
  it('waits for a lease, is deployed by phases, and tells the mesh its address and a token', async () => {
    hasLease = false;
    now = keeper();
    now.start();
    await reaches(() => last()?.because, 'it waits for the leave of the mesh to run on this machine');
    expect(docker('ps', '-aq', '--filter', `name=${name}`)).toBe('');
    hasLease = true;
    await reaches(() => last()?.state, 'healthy');
    const phases = new Set(seen.map((one) => one?.progress?.phase));
    for (const phase of [
      'opens its data place',
      `looks for the image ${fast}`,
      'starts its container',
      'boots',
      'makes its admin token',
    ])
      expect(phases).toContain(phase);
    expect(seen.slice(0, -1).map((one) => one?.state)).not.toContain('healthy');
    const [stands] = changes;
    if (stands?.kind !== 'gitlab-stands') throw new Error('it was not told');
    expect(stands).toMatchObject({ data, epoch: 2, url: 'http://gitlab.test:8080' });
    const token = stands.token.replace(/^voters /, '');
    const api = `http://${behind?.upstream}/api/v4/user`;
    // As the gate comes: its nginx wants to hear first who the client is.
    const asked = [
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      '--haproxy-protocol',
      '-H',
      `private-token: ${token}`,
    ];
    await reaches(async () => spawnSync('curl', [...asked, api], { encoding: 'utf8' }).stdout, '200');
    expect(last()?.version).toMatch(/^19\.3\.0/);
    expect(behind).toMatchObject({ isServing: true, epoch: 2, cgroup: expect.stringMatching(/^\//) });
  });

  it('publishes no port, is not restarted by the engine, has a bridge of the name that the guard knows, and no secret in it', () => {
    expect(inspect('{{json .HostConfig.PortBindings}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}}')).toBe(
      `null no ${4 * 2 ** 30}`,
    );
    expect(docker('network', 'inspect', name)).toContain(bridgeOf(data));
    expect(existsSync(`/sys/class/net/${bridgeOf(data)}`)).toBe(true);
    expect(inspect('{{json .}}')).not.toMatch(/glpat-|[Pp]assword/);
  });

  it("tells root's password until somebody has seen it", () => {
    const password = /^Password: (\S+)$/m.exec(
      readFileSync(join(folder, 'place/config/initial_root_password'), 'utf8'),
    )?.[1];
    expect(now.rootPassword()).toBe(password);
    const file = join(folder, 'hosted-gitlab.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect([now.rootPassword('another'), now.rootPassword(password), now.rootPassword()]).toEqual([
      password,
      null,
      null,
    ]);
    expect([now.rootPassword(), readFileSync(file, 'utf8').includes(password as string)]).toEqual([null, false]);
  });

  it('an agent that is made anew adopts it, and ends a GitLab of an earlier epoch', async () => {
    const id = inspect('{{.Id}}');
    const labels = { gitlab: 'other-data', epoch: '1', mesh, host: 'kang' };
    const words = Object.entries(labels).flatMap(([key, value]) => ['--label', `autogit.${key}=${value}`]);
    docker('run', '-d', '--name', `${name}-old`, ...words, fast, 'sleep', '600');
    await now.stop();
    seen.length = 0;
    changes.length = 0;
    now = keeper();
    now.start();
    await reaches(() => last()?.state, 'healthy');
    await reaches(() => docker('ps', '-aq', '--filter', `name=${name}-old`), '');
    expect([inspect('{{.Id}}'), changes]).toEqual([id, []]);
  });

  it('that it stands still is no illness; killed, it is started again', async () => {
    const group = behind?.cgroup as string;
    freezeCgroup(group);
    now.lookNow();
    await reaches(() => last()?.because.slice(0, 15), 'it stands still');
    expect(last()?.state).toBe('healthy');
    thawCgroup(group);
    now.lookNow();
    await reaches(() => last()?.because, 'it answers');
    // Redis' log was begun while it lived; the next start reads it.
    await reaches(() => last()?.queued?.each, 'second');
    redis('set', 'kept', 'over the kill');
    await sleep(1500);
    const before = inspect('{{.Id}}');
    docker('kill', name);
    await reaches(() => seen.some((one) => one?.state === 'repairing'), true);
    await reaches(() => last()?.state, 'healthy');
    expect(inspect('{{.Id}} {{.State.Running}}')).not.toBe(`${before} true`);
    expect([redis('config', 'get', 'appendonly'), redis('get', 'kept')]).toEqual(['appendonly\nyes', 'over the kill']);
  });

  it('its hook is put back when it is gone, and where Gitaly has another folder that is said', async () => {
    const hook = join(folder, 'gitlab-hooks/post-receive.d/autogit-node');
    rmSync(hook);
    now.lookNow();
    await reaches(() => existsSync(hook), true);
    for (const { folder, text } of ownHooks)
      expect(docker('exec', name, 'cat', `/opt/autogit-node/${folder}/autogit-node`)).toBe(text.trim());
    const gitaly = join(folder, 'place/data/gitaly/config.toml');
    const own = readFileSync(gitaly, 'utf8');
    writeFileSync(gitaly, own.replace('/opt/autogit-node', '/opt/other'));
    now.lookNow();
    await reaches(() => last()?.unheld?.slice(0, 36), 'Gitaly runs the hooks of /opt/other,');
    writeFileSync(gitaly, own);
    now.lookNow();
    await reaches(() => last()?.unheld, undefined);
    expect(changes).toEqual([]);
  });

  const passwordOf = async (user: string) => now.kept?.care.newPassword(user);

  it('users and groups of a list are made, told what is not, and get a password that is used once', async () => {
    const id = inspect('{{.Id}}');
    const ann = { username: 'ann', name: 'Ann', email: 'ann@example.org', isAdmin: false };
    const members = [
      { username: 'ann', level: 'developer' },
      { username: 'nobody', level: 'guest' },
    ] as const;
    people = { users: [ann], groups: [{ path: 'lab', name: 'Lab', visibility: 'private', members }] };
    now.lookNow();
    await reaches(
      () => last()?.people?.problems,
      ['nobody in group lab: GitLab has no user nobody: put that name into gitlab.users too'],
    );
    people = { ...people, groups: [] };
    now.lookNow();
    await reaches(() => last()?.people, undefined);
    expect(await passwordOf('ann')).toMatch(/^([a-z2-9]{5}-){3}[a-z2-9]{5}$/);
    await expect(passwordOf('nobody')).rejects.toThrow('GitLab has no user nobody');
    const root = (await passwordOf('root')) as string;
    const found = await makeAdminToken(host, id, 'home', root);
    expect(found.isRootPassword).toBe(true);
  });

  it('older tokens of the mesh end by one word to gitlab-rails', async () => {
    const id = inspect('{{.Id}}');
    const old = (ledger.gitlab.token as string).replace(/^voters /, '');
    const { token, isRootPassword } = await makeAdminToken(host, id, 'home', 'not-the-first-one');
    expect(isRootPassword).toBe(false);
    expect(await isRefusedInside(host, id, old)).toBe(false);
    await revokeOlderTokens(host, id, 'home');
    await reaches(() => isRefusedInside(host, id, old), true);
    expect(await isRefusedInside(host, id, token)).toBe(false);
  });

  it('is uninstalled with its data: gate first, then container, network and place', async () => {
    const ending = { since: 2, deleteData: true, now: false, force: false, drained: true };
    ledger.gitlab.hosted = { ...ledger.gitlab.hosted, ending };
    now.ledgerChanged();
    await reaches(() => changes[0], { kind: 'gitlab-ended', data, epoch: 2 });
    expect([closed, behind]).toEqual([[2], null]);
    expect(docker('ps', '-aq', '--filter', `name=${name}`)).toBe('');
    expect(docker('network', 'ls', '-q', '--filter', `name=${name}`)).toBe('');
    expect([existsSync(join(folder, 'place')), existsSync(join(folder, 'hosted-gitlab.json'))]).toEqual([false, false]);
    Object.assign(ledger.gitlab, { mode: 'none', host: null, hosted: undefined });
    await reaches(() => last(), null);
  });
});
