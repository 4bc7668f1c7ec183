import { execFile, execFileSync, spawn } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formMesh, pipelineEnd, settled } from './mesh.ts';
import { Lan } from './namespaces.ts';
import { Rig, type TestMachine, until } from './rig.ts';

const run = promisify(execFile);
const attacker = fileURLToPath(new URL('page-attacker.mjs', import.meta.url));

/** What whoever has neither link nor key is answered. Of /v1 there is nothing: that is agent.sock's. */
const nothing = {
  ...{
    bare: 401,
    status: 401,
    events: 401,
    logs: 401,
    key: 401,
    session: 401,
    link: 401,
    act: 401,
    'act of a session': 401,
  },
  ...{ files: 404, encoded: 404, socket: 404, link2: 404, rebound: 421 },
};

/**
 * The door of the page that an agent serves to its LAN, from a second machine and from a job on its own (needs root: namespaces, and
 * jobs that are users of their own).
 */
describe('the page’s door', () => {
  const rig = new Rig();
  let lan: Lan;
  let machines: TestMachine[] = [];
  let kang: TestMachine;
  let door = '';

  /** A program of Node's on machine `index`. */
  const on = (index: number, ...args: string[]): [string, string[]] => [
    'nsenter',
    [`--net=/var/run/netns/${lan.namespace(index)}`, process.execPath, ...args],
  ];
  const curl = async (index: number, ...args: string[]): Promise<string> =>
    (await run('nsenter', [`--net=/var/run/netns/${lan.namespace(index)}`, 'curl', '-s', '--max-time', '30', ...args]))
      .stdout;

  beforeAll(async () => {
    lan = new Lan(3);
    const gitlab = rig.practice(lan.namespace(1));
    await gitlab.start(lan.address(1));
    const process = ['--executor', 'process', '--user', 'auto'];
    machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], {
      lan,
      args: {
        kang: [...process, '--dashboard', '0.0.0.0:7118'],
        'desktop-1': ['--witness', '--dashboard', 'off'],
        'desktop-2': ['--witness'],
      },
    });
    kang = machines[0] as TestMachine;
    kang.env.PRACTICE_TOKEN = gitlab.token;
    const connected = await kang.cli('gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
    expect(connected.stderr + connected.code).toBe(`${connected.stderr}0`);
    door = `http://${lan.address(1)}:7118`;
  }, 180_000);
  afterAll(async () => {
    await rig.clean();
    lan?.down();
  });

  it('says where it is, and how plain http is; off is off', async () => {
    const { code, stdout, stderr } = await kang.cli('dashboard', '--json');
    expect(stderr + code).toBe('0');
    const { urls } = JSON.parse(stdout) as { urls: string[] };
    expect(urls.map((url) => new URL(url).origin)).toEqual(['http://127.0.0.1:7118', door]);
    expect((await kang.cli('dashboard')).stderr).toContain('plain http');
    expect(await machines[1]?.cli('dashboard')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('dashboard is off'),
    });
    // A home of its own, and so loopback's: nobody else reaches it.
    expect(JSON.parse((await machines[2]?.cli('dashboard', '--json'))?.stdout ?? '')).toMatchObject({
      urls: [expect.stringContaining('http://127.0.0.1:7118/')],
    });
    await expect(curl(1, `http://${lan.address(3)}:7118/`)).rejects.toMatchObject({ code: 7 });
  });

  it('opens to a link and to a key from a second machine, as what they are', async () => {
    const { urls } = JSON.parse((await kang.cli('dashboard', '--json', '--role', 'viewer')).stdout) as {
      urls: string[];
    };
    const jar = `${rig.dir}/jar`;
    const entered = await curl(2, '-c', jar, '-D', '-', '-o', '/dev/null', urls[1] as string);
    const place = /^location: (\S+)/im.exec(entered)?.[1] ?? '';
    const page = (path: string, ...more: string[]): Promise<string> =>
      curl(2, '-b', jar, ...more, `${door}${place}${path}`);
    expect(JSON.parse(await page('api/me'))).toMatchObject({ node: 'kang', mesh: 'home', role: 'viewer' });
    expect(JSON.parse(await page('api/status'))).toMatchObject({
      seenFrom: 'kang',
      leader: { node: expect.any(String) },
    });
    const act = [
      '-X',
      'POST',
      '-H',
      'content-type: application/json',
      '-H',
      'x-autogit: page',
      '-H',
      `origin: ${door}`,
    ];
    expect(JSON.parse(await page('api/acts/drain', ...act, '-d', '{"node":"kang","drained":true}'))).toMatchObject({
      error: { message: expect.stringContaining('is in as viewer') },
    });
    const { key } = JSON.parse((await kang.cli('dashboard', 'key', '--json', '--role', 'owner')).stdout) as {
      key: string;
    };
    const by = ['-H', `authorization: Bearer ${key}`];
    expect(JSON.parse(await curl(2, ...by, `${door}/api/summary`))).toMatchObject({ mesh: 'home', machines: 3 });
    const paused = await curl(2, ...by, ...act, '-d', '{"what":"all","forMs":60000}', `${door}/api/acts/pause`);
    expect(JSON.parse(paused)).toMatchObject({ said: expect.stringContaining('paused') });
    await until('kang shows that it is paused', async () =>
      (await kang.status()).nodes.some(({ node, paused }) => node === 'kang' && paused === 'all'),
    );
    await curl(2, ...by, ...act, '-d', '{"what":"all"}', `${door}/api/acts/resume`);
    expect((await kang.cli('dashboard', 'key-remove', 'key-1')).code).toBe(0);
    expect(JSON.parse(await curl(2, ...by, `${door}/api/summary`))).toMatchObject({ error: { code: 'not-approved' } });
  });

  it('tells a stranger on a second machine nothing', async () => {
    const { stdout } = await run(...on(2, attacker, door));
    expect(JSON.parse(stdout.replace('TRIED ', ''))).toEqual({ [door]: nothing });
    expect((await kang.status()).nodes.find(({ node }) => node === 'kang')?.state).not.toBe('draining');
  });

  it('tells a job on its own machine nothing, at loopback neither', async () => {
    const gitlab = rig.gitlab!;
    // As a home below /root is; that of a test lies in a temporary folder.
    chmodSync(rig.dir, 0o755);
    const loopback = 'http://127.0.0.1:7118';
    const project = await gitlab.push('attack', {
      'attacker.mjs': readFileSync(attacker, 'utf8'),
      '.gitlab-ci.yml': `attack: { script: ["id -u; '${process.execPath}' attacker.mjs ${loopback} ${door} ${kang.home}"] }\n`,
    });
    const { status, jobs } = await pipelineEnd(rig, project);
    const trace = await gitlab.trace(project, jobs[0]!.id);
    expect(status, trace).toBe('success');
    expect(JSON.parse(/^TRIED (.*?)\r?$/m.exec(trace)?.[1] ?? 'null')).toEqual({
      [loopback]: nothing,
      [door]: nothing,
      [kang.home]: { folder: 'EACCES', keys: 'EACCES', socket: 'EACCES' },
    });
    expect(trace).not.toMatch(/^0\r?$/m);
    expect((await kang.status()).nodes.find(({ node }) => node === 'kang')?.state).not.toBe('draining');
  });

  it('a thousand connections that say nothing, or half of something, keep nobody out and cost the mesh nothing', async () => {
    await settled(machines);
    const before = (await kang.status()).leader;
    const elections = machines.map((machine) => machine.events('leader-elected').length);
    const script = `
      const { connect } = require('node:net');
      const open = new Set();
      let made = 0;
      const more = (index) => {
        const socket = connect(7118, '${lan.address(1)}', () => {
          made += 1;
          if (index % 3 === 1) socket.write('GET / HTTP/1.1\\r\\nhost: kang\\r\\nx-half: ');
          if (index % 3 === 2) socket.write('\\u0000'.repeat(100));
          if (made === 1000) console.log('made');
        });
        open.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => { open.delete(socket); setTimeout(more, 200, index); });
      };
      for (let index = 0; index < 1000; index++) more(index);`;
    const [file, args] = on(3, '-e', script);
    const flood = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await new Promise((resolve, reject) => {
        flood.stdout.once('data', resolve);
        flood.once('exit', () => reject(new Error('the flood ended')));
      });
      // Whoever has a link comes in all the same: as often as it takes, as a browser tries again too.
      const link = async (): Promise<string> =>
        (JSON.parse((await kang.cli('dashboard', '--json')).stdout) as { urls: string[] }).urls[1] as string;
      await until('somebody comes in from a second machine', async () =>
        /^location: \/s\//im.test(await curl(2, '-D', '-', '-o', '/dev/null', await link())),
      );
      const held = execFileSync('nsenter', [
        ...[`--net=/var/run/netns/${lan.namespace(1)}`, 'ss', '-Htnp', 'state', 'established', '( sport = :7118 )'],
      ]).toString();
      // Those that the kernel alone has are nobody's yet.
      expect(held.split('\n').filter((line) => line.includes('users:')).length).toBeLessThan(400);
      await until(
        'the mesh has decided something meanwhile',
        async () => (await kang.cli('settings', 'graceMs', '90s')).code === 0,
      );
      expect((await kang.status()).leader).toMatchObject({ node: before?.node, term: before?.term });
    } finally {
      flood.kill('SIGKILL');
    }
    expect(machines.map((machine) => machine.events('leader-elected').length)).toEqual(elections);
  });
});
