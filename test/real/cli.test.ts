import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StatusSnapshot } from '../../protocol/status.ts';
import setUpBundle from '../e2e/bundle.ts';
import { bin, cleanEnv, type Ended, failing, root, runCli } from './cli-child.ts';

let dir: string;
beforeAll(() => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-cli-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const env = (more: Record<string, string> = {}): Record<string, string> => cleanEnv(join(dir, 'user'), more);
const cli = (args: string[], more: Record<string, string> = {}): Promise<Ended> => runCli(args, env(more));

describe('exit codes without an agent', () => {
  it.each([
    [['joni'], 2, /unknown command 'joni'/, /did you mean join\?/],
    [['status', '--jsn'], 2, /unknown option '--jsn'/, /did you mean --json\?.*status --help/],
    [['status', '--jsno'], 2, /unknown option '--jsno'/, /did you mean --json\?/],
    [['--nope'], 2, /unknown option '--nope'/, /(?<=fix: )autogit-node --help/],
    [['join', '--nope'], 2, /unknown option '--nope'/, /(?<=fix: )autogit-node join --help/],
    [['xyzzy'], 2, /unknown command 'xyzzy'/, /(?<=fix: )autogit-node --help/],
    [['join', '--name'], 2, /argument missing/, /join --help/],
    [['join', '--name', 'Größe'], 2, /name "Größe"/, /--name gr-e\n/],
    [['join', '--name', 'Kang.fritz.box'], 2, /name "Kang.fritz.box"/, /one that it may have: --name kang\n/],
    [['pause', 'kang'], 2, /too many arguments/, /of another one: autogit-node drain NODE/],
    [['resume', 'kang'], 2, /too many arguments/, /autogit-node undrain NODE/],
    [['leave', 'kang'], 2, /too many arguments/, /type it alone, on the one that shall leave/],
    [['approve', 'kang', '--words', 'amber', 'fox', 'lake', 'moon'], 2, /too many/, /--words amber-fox-lake-moon/],
    [['pause', '--for', '1h30m'], 3, /no agent/, /join/],
    [['gitlab', 'connect', 'http://x', '--token', 'glpat-x'], 2, /unknown option '--token'/, /--token-env TOKEN/],
    [['gitlab', 'connect', '10.0.0.7:8080', '--token-env', 'PATH'], 2, /no http/, /with http:\/\/10\.0\.0\.7:8080 /],
    [['gitlab', 'connect', 'gitlab.lan', '--token-env', 'PATH'], 2, /no http/, /with http:\/\/gitlab\.lan /],
    [['join', '--max-runs', 'many'], 2, /--max-runs: "many"/, /--help/],
    [['join', '--listen', '/ip4/0.0.0.0/tcp/70000'], 2, /port from 0 to 65535/, /join --help/],
    [['doctor', '--listen', '/ip4/127.0.0.1/tcp/70000'], 2, /port from 0 to 65535/, /doctor --help/],
    [['doctor', '--docker-host', 'tcp://127.0.0.1:70000'], 2, /port up to 65535/, /doctor --help/],
    [['practice-gitlab', '--port', '70000'], 2, /--port: "70000" is no port/, /practice-gitlab --help/],
    [['join', '--executor', 'vm'], 2, /"vm" is none of docker, process/, /--help/],
    [['gitlab', 'conect', 'http://x'], 2, /unknown command 'gitlab conect'/, /did you mean gitlab connect\?/],
    [['gitlab', 'fenced', 'fenced-1'], 2, /unknown command 'gitlab fenced fenced-1'/, /gitlab fenced --help/],
    [['gitlab', 'copies', 'remov', 'x'], 2, /unknown command 'gitlab copies remov'/, /mean gitlab copies remove\?/],
    [['help', 'foo'], 2, /unknown command 'foo'/, /autogit-node --help/],
    [['help', 'gitlab', 'conect'], 2, /unknown command 'gitlab conect'/, /did you mean gitlab connect\?/],
    [['join', '--reserve-memory', '8'], 2, /"8" would be 8 bytes; write the unit: 8g or 8m/, /join --help/],
    [['invite', '--for', '5'], 2, /10 s to 7 days, not for 5 s/, /invite --for 15m/],
    [['settings', 'graceMs', '3'], 2, /graceMs 3 would be 3 ms: write the unit/, /settings graceMs 3s/],
    [['pause', '--for', '5'], 2, /5 s is no pause worth having; write 5m/, /pause --for 2h/],
    [['demo', '--json'], 2, /demo has nothing to say as JSON/, /demo --help/],
    [['join', '--json'], 2, /join has nothing to say as JSON/, /join --help/],
    [['pause', '--for', 'x'], 2, /--for: "x" is no duration/, /pause --help/],
    [['gitlab', 'connect', 'glpat-abcdefghij'], 2, /this looks like a token/, /connect http/],
    [['why'], 2, /missing required argument/, /why --help/],
    [['why', 'abc'], 3, /no agent/, /join/],
    [['why', '0'], 2, /"0" is no job's number/, /why --help/],
    [['jobs', '1', '2'], 2, /too many arguments/, /jobs --help/],
    [['pause', '--for', 'ever'], 2, /--for: "ever" is no duration/, /--help/],
    [['completion', 'tcsh'], 2, /no completion for "tcsh"/, /bash, zsh or fish/],
    [['completion', 'toString'], 2, /no completion for "toString"/, /bash, zsh or fish/],
    [['settings', 'volume'], 2, /no setting "volume"/, /retryLost/],
    [['--config', '/nowhere.yml', 'version'], 2, /\/nowhere.yml cannot be read/, /./],
    [['status'], 3, /no agent is running here/, /autogit-node join/],
    [['jobs'], 3, /no agent/, /join/],
    [['approve', 'kang'], 3, /no agent/, /join/],
    [['logs', '7'], 3, /no agent/, /join/],
    [['cancel', '7'], 3, /no agent/, /join/],
    [['retry', 'build'], 3, /no agent/, /join/],
    [['cancel'], 2, /missing required argument/, /cancel --help/],
    [['retry', '7', '--force'], 2, /unknown option '--force'/, /retry --help/],
    [['gitlab', 'connect', 'http://x', '--token-env', 'PATH'], 3, /no agent/, /join/],
    [['gitlab', 'connect', 'ftp://x', '--token-env', 'PATH'], 2, /no http\(s\) address/, /./],
    [['gitlab', 'connect', 'http://u:p@x'], 2, /holds a password/, /--token-env/],
    [['gitlab', 'connect', 'http://x', '--runner-token-env', 'PATH', '--tags', 'a'], 2, /no runner token/, /./],
    [['gitlab', 'deploy', '--preset', 'homelab'], 3, /no agent/, /join/],
    [['gitlab', 'deploy', '--preset', 'huge'], 2, /"huge" is none of minimal, homelab, team, beast/, /deploy --help/],
    [['gitlab', 'deploy', '--port', '80800'], 2, /"80800" is no port/, /deploy --help/],
    [['gitlab', 'uninstall'], 3, /no agent/, /join/],
    [['reconcile'], 3, /no agent/, /join/],
    [['gitlab', 'move', 'kang'], 3, /no agent/, /join/],
    [['gitlab', 'adopt'], 3, /no agent/, /join/],
    [['gitlab', 'clear-flag'], 3, /no agent/, /join/],
    [['gitlab', 'take-over'], 2, /missing required argument/, /take-over --help/],
    [['gitlab', 'take-over', 'desktop-1'], 3, /no agent/, /join/],
    [['recover'], 2, /go on alone/, /status.*recover --force/],
    [['recover', '--force'], 3, /no agent/, /join/],
    [['id'], 1, /no identity yet/, /join/],
    [['service', 'install', '--system', '--user'], 2, /exclude each other/, /./],
  ] as [string[], number, RegExp, RegExp][])('%j -> %i', async (args, code, sentence, fix) => {
    failing(code, sentence, fix)(await cli(['--home', join(dir, 'none'), ...args]));
  });

  it('0: what needs no agent', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(await cli(['version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    expect(JSON.parse((await cli(['version', '--json'])).stdout)).toMatchObject({ version, node: process.version });
    expect((await cli(['--version'])).stdout).toBe(`${version}\n`);
    for (const args of [
      ['--help'],
      ['help'],
      ['help', 'help'],
      ['join', '--help'],
      ['help', 'join'],
      ['gitlab', '--help'],
    ]) {
      const help = await cli(args);
      expect([args, help.code, help.stderr]).toEqual([args, 0, '']);
      expect(help.stdout).toContain('Usage: autogit-node');
    }
    for (const words of [
      ['cache', 'clear'],
      ['gitlab', 'copies', 'add'],
      ['gitlab', 'fenced'],
      ['forget', 'kang'],
    ]) {
      const [asked, own] = [await cli(['help', ...words]), await cli([...words, '--help'])];
      expect([words, asked]).toEqual([words, own]);
      const path = words.filter((word) => word !== 'kang').join(' ');
      expect(asked.stdout).toContain(`Usage: autogit-node ${path} `);
    }
    expect((await cli([])).code).toBe(2);
    expect((await cli(['service'])).code).toBe(2);
    expect((await cli(['paths', '--home', '/x'])).stdout).toMatch(
      /^socket\t\/x\/agent\.sock\n[\s\S]*^docs\t\/.*docs$/m,
    );
    for (const shell of ['bash', 'zsh', 'fish'])
      expect((await cli(['completion', shell])).stdout).toContain('practice-gitlab');
  });

  it('bash reads the completion and offers what fits', async () => {
    const { stdout } = await cli(['completion', 'bash']);
    const script = `${stdout}\nCOMP_WORDS=(autogit-node gitlab con); COMP_CWORD=2; _autogit_node; echo "\${COMPREPLY[@]}"`;
    expect(execFileSync('bash', ['-c', script], { encoding: 'utf8' })).toBe('connect\n');
  });

  it.skipIf(process.getuid?.() !== 0)('join as root asks who jobs are, before it makes anything', async () => {
    const none = join(dir, 'asked');
    const refused = await cli(['--home', none, '--no-input', 'join', '--new', '--no-mdns', '--executor', 'process']);
    failing(
      2,
      /needs the user that jobs run as/,
      /root: jobs are root.*: autogit-node join --executor process --user auto/,
    )(refused);
    const words = ['--home', none, '--no-input', 'join', '--new', '--no-mdns', '--executor', 'process', '--user'];
    failing(
      2,
      /auto:7-3 is no range of uids/,
      /--user auto, which is auto:70000-79999/,
    )(await cli([...words, 'auto:7-3']));
    failing(2, /it is no user name, nor auto, nor auto:FIRST-LAST/, /join --help/)(await cli([...words, 'auto:7']));
    expect(existsSync(none)).toBe(false);
  });

  it('service says so where there is no systemd', async () => {
    if (existsSync('/run/systemd/system')) return;
    failing(1, /does not run systemd/, /join --service/)(await cli(['service', 'install', '--user']));
  });
});

describe('with an agent', () => {
  let home: string;
  let agent: ChildProcess;
  let output = '';
  beforeAll(async () => {
    home = join(dir, 'kang');
    const args = [
      '--home',
      home,
      '--no-input',
      'join',
      '--new',
      'home',
      '--name',
      'kang',
      '--no-mdns',
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
      '--executor',
      'process',
      ...(process.getuid?.() === 0 ? ['--user', 'root'] : []),
    ];
    agent = spawn(process.execPath, [bin, ...args], {
      env: env({ AUTOGIT_PLAY_GPU: 'RTX 3090 Ti:24g' }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (data) => (output += data));
    for (let i = 0; i < 300; i++) {
      if ((await cli(['--home', home, 'status', '--exit-status'])).code === 0) return;
      if (agent.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the agent did not come up: ${output}`);
  });
  afterAll(async () => {
    if (agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = new Promise((resolve) => agent.once('exit', resolve));
    agent.kill('SIGKILL');
    await gone;
  });
  // doctor would speak on the LAN that this computer is on.
  const here = (...args: string[]) => cli(['--home', home, ...args], { AUTOGIT_MDNS: 'off' });

  it('status as JSON, as tabs, and a played GPU that says so', async () => {
    const json = await here('status', '--json');
    const snapshot = StatusSnapshot.parse(JSON.parse(json.stdout));
    expect(snapshot.nodes[0]).toMatchObject({ node: 'kang', self: true, state: 'leader' });
    expect(snapshot.nodes[0]?.capacity?.gpus[0]).toMatchObject({
      model: 'RTX 3090 Ti (played)',
      memoryBytes: 24 * 2 ** 30,
    });
    const { stdout } = await here('status');
    expect(stdout).toMatch(/^mesh\thome\t/);
    expect(stdout).toMatch(/^node\tkang\tleader\t.*RTX 3090 Ti \(played\)/m);
  });

  it('a second agent on the same home ends at once', async () => {
    const second = await here(
      '--no-input',
      'join',
      '--new',
      '--no-mdns',
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
      '--executor',
      'process',
      ...(process.getuid?.() === 0 ? ['--user', 'root'] : []),
    );
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(
      new RegExp(
        `error: this machine is in mesh home already \\(pid ${agent.pid}, up \\d.*\\)\\nfix: a second one needs its own --home DIR; how that one is: autogit-node --home \\S+ status`,
      ),
    );
    expect((await here('status')).code).toBe(0);
  });

  it('a watch says when its agent is stopped, and goes on with it; doctor names it, and looks at all else', async () => {
    const words = [bin, '--home', home, 'status', '-w', '200ms'];
    const watch = spawn(process.execPath, words, { env: env(), stdio: ['ignore', 'pipe', 'pipe'] });
    let [pictures, talk] = [0, ''];
    watch.stdout.on('data', (data) => (pictures += String(data).split('mesh\thome').length - 1));
    watch.stderr.on('data', (data) => (talk += data));
    const until = async (holds: () => boolean): Promise<void> => {
      for (let i = 0; i < 200 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(holds(), talk).toBe(true);
    };
    try {
      await until(() => pictures > 0);
      agent.kill('SIGSTOP');
      await until(() => talk.includes('stopped (T)'));
      expect(talk).toMatch(
        new RegExp(`# waiting for the agent: .*pid ${agent.pid}.* is [\\d.]+ s old *-> kill -CONT ${agent.pid}`),
      );
      const { code, stdout } = await here('doctor');
      expect([code, stdout]).toEqual([5, expect.stringContaining(`is stopped (T)\tkill -CONT ${agent.pid}`)]);
      expect(stdout).toMatch(/^ok\tstore\t[\s\S]*^warn\tdiscovery\t/m);
      const before = pictures;
      agent.kill('SIGCONT');
      await until(() => pictures > before);
    } finally {
      agent.kill('SIGCONT');
      watch.kill('SIGKILL');
    }
  }, 30_000);

  it('settings, jobs, why, logs, doctor', async () => {
    expect((await here('settings', 'retryLost', 'on')).code).toBe(0);
    expect((await here('settings', 'retryLost')).stdout).toBe('true\n');
    expect(JSON.parse((await here('settings', '--json')).stdout)).toMatchObject({
      retryLost: true,
      defaultArch: expect.any(String),
    });
    expect(await here('jobs')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await here('jobs', '--json')).stdout.trim()).toBe('[]');
    expect(StatusSnapshot.parse(JSON.parse((await here('status', '-o', 'json')).stdout)).seenFrom).toBe('kang');
    const unknown = await here('why', '7');
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/knows no job 7: .* of jobs that are over the newest 60 are remembered/);
    expect((await here('logs')).stdout).toContain('"event":"agent-started"');
    expect((await here('id')).stdout).toMatch(/^12D3KooW\w+\n$/);
    const doctor = JSON.parse((await here('doctor', '--json')).stdout) as {
      findings: { what: string; state: string; sentence: string }[];
    };
    // Off is never "ok": whoever has it off should see why nobody is found.
    expect(doctor.findings.find(({ sentence }) => /mDNS is switched off/.test(sentence))).toMatchObject({
      state: 'warn',
    });
    expect(doctor.findings).toContainEqual(expect.objectContaining({ what: 'agent', state: 'ok' }));
    expect((await here('approve')).stderr).toContain('no machine waits');
    expect((await here('forget', 'nobody')).code).toBe(1);
  });

  it('a reader that goes away is no failure', () => {
    const script = `set -o pipefail; "$0" "$1" --home "$2" config | head -1; exit \${PIPESTATUS[0]}`;
    expect(execFileSync('bash', ['-c', script, process.execPath, bin, home], { env: env(), encoding: 'utf8' })).toMatch(
      /^home\t/,
    );
  });

  it('a watch goes on until Ctrl-C: 130', async () => {
    const child = spawn(process.execPath, [bin, '--home', home, 'status', '--json', '-w', '200ms'], {
      env: env(),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let lines = '';
    await new Promise<void>((resolve) =>
      child.stdout.on('data', (data) => {
        lines += data;
        if (lines.split('\n').length > 3) resolve();
      }),
    );
    for (const line of lines.split('\n').slice(0, 3)) StatusSnapshot.parse(JSON.parse(line));
    const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
  });

  it('leave ends it, and then nobody is there: 3', async () => {
    const gone = new Promise((resolve) => agent.once('exit', (code) => resolve(code)));
    expect((await here('leave')).code).toBe(0);
    expect(await gone).toBe(0);
    expect((await here('status')).code).toBe(3);
    expect((await here('logs')).stdout).toContain('"event":"agent-started"');
    expect(JSON.parse((await here('doctor', '--json')).stdout)).toMatchObject({
      findings: expect.arrayContaining([expect.objectContaining({ what: 'store', state: 'ok' })]),
    });
  });

  it('doctor: 5 when the identity or the store is broken, and join says the same', async () => {
    const key = readFileSync(join(home, 'identity.key'));
    writeFileSync(join(home, 'identity.key'), 'garbage');
    const doctor = await here('doctor');
    expect(doctor.code).toBe(5);
    expect(doctor.stdout).toMatch(/^fail\tidentity\t.*is no Ed25519 key.*\trestore identity\.key/m);
    failing(
      1,
      /is no Ed25519 key/,
      /restore identity\.key/,
    )(await here('--quiet', 'join', '--new', '--no-mdns', '--no-input'));
    writeFileSync(join(home, 'identity.key'), key);
    rmSync(join(home, 'store', 'level'), { recursive: true });
    expect((await here('doctor')).stdout).toMatch(/^fail\tstore\t.*: mv \S+\/store \S+\.damaged$/m);
    failing(1, /is damaged/, /mv /)(await here('--quiet', 'join', '--new', '--no-mdns', '--no-input'));
  });

  it('a home that cannot be written says so', async () => {
    const file = join(dir, 'file');
    writeFileSync(file, '');
    chmodSync(file, 0o600);
    const ended = await cli(['--home', join(file, 'home'), '--no-input', 'join', '--new']);
    expect([ended.code, ended.stderr.includes('cannot be used')]).toEqual([1, true]);
  });
});
