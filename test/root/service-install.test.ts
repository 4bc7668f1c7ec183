import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StatusSnapshot } from '../../protocol/status.ts';
import { bin, until } from '../e2e/rig.ts';
import { Terminal } from '../real/terminal.ts';

/** What the command asks of systemd, done by a script: it starts and ends what the unit says, in an empty environment. */
const systemctl = `#!/bin/sh
cd /run/systemd; unit=/etc/systemd/system/autogit-node.service
group() { [ -d /sys/fs/cgroup/systemd ] && c=/sys/fs/cgroup/systemd || c=/sys/fs/cgroup; g=$c/$(basename $GROUP)/autogit-node.service; }
end() { [ -f pid ] && kill $(cat pid) 2>/dev/null && while kill -0 $(cat pid) 2>/dev/null; do sleep 0.1; done; rm -f pid; }
case "$1" in
  restart) end; group; mkdir -p $g
    (exec sh -c 'echo $$ >$0/cgroup.procs; exec env -i PATH="$PATH" setsid $(sed -n "s/^ExecStart=//p" '$unit')' $g) >out 2>&1 & echo $! >pid ;;
  gone) group; rmdir $g $(dirname $g) ;;
  disable) end ;;
  show) [ -f pid ] && kill -0 $(cat pid) 2>/dev/null && echo active || echo inactive ;;
esac
exit 0
`;

/** `service install` on a machine of its own: folders of the system are private mounts (needs root). */
describe('service install, as root', () => {
  let dir: string;
  let machine: ChildProcess;
  let foreground: ChildProcess | null = null;
  const inside = (): string[] => ['-t', String(machine.pid), '-m', '--'];
  const env = (): Record<string, string> => ({
    PATH: `${dir}/bin:/usr/local/bin:${process.env.PATH}`,
    HOME: '/root',
    GROUP: dir,
  });

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'autogit-service-'));
    mkdirSync(join(dir, 'bin'));
    writeFileSync(join(dir, 'bin', 'systemctl'), systemctl, { mode: 0o755 });
    writeFileSync(join(dir, 'bin', 'groupadd'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const mounts = ['/run', '/root', '/opt', '/var/lib', '/etc/systemd/system', '/usr/local/bin'];
    const script = `for at in ${mounts.join(' ')}; do mkdir -p $at; mount -t tmpfs t-hour $at; done; mkdir -p /run/systemd/system; echo up; exec sleep 300`;
    machine = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-ec', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => machine.stdout?.once('data', resolve));
  });
  afterEach(() => {
    spawnSync('nsenter', [...inside(), `${dir}/bin/systemctl`, 'disable'], { env: env() });
    spawnSync('nsenter', [...inside(), `${dir}/bin/systemctl`, 'gone'], { env: env() });
    foreground?.kill('SIGKILL');
    machine.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  const cli = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('nsenter', [...inside(), process.execPath, bin, ...args], {
      env: env(),
      encoding: 'utf8',
    });
    return { code: status, stdout, stderr };
  };
  const status = async () => StatusSnapshot.parse(JSON.parse(cli('status', '--json').stdout));
  const read = (file: string): string => execFileSync('nsenter', [...inside(), 'cat', file], { encoding: 'utf8' });
  const local = ['--no-mdns', '--listen', '/ip4/127.0.0.1/tcp/0'];

  it('goes on as the agent that runs: home, name, flags, mesh; at boot too, and again', async () => {
    const words = [
      '--no-input',
      'join',
      '--new',
      'homelab',
      '--name',
      'server',
      '--executor',
      'process',
      '--user',
      'root',
      '--label',
      'fast',
      ...local,
    ];
    foreground = spawn('nsenter', [...inside(), process.execPath, bin, ...words], { env: env(), stdio: 'ignore' });
    const before = await until('it leads', async () => {
      const now = await status();
      return now.leader && now;
    });
    const { code, stdout, stderr } = cli('service', 'install');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/runs now and at boot .*home \/var\/lib\/autogit-node/)]);
    expect(stderr).toMatch(/wrote .*name.* to \/root\/\.config\/autogit-node\/autogit\.yml/);
    expect(stderr).toMatch(/ended the agent that ran in a terminal/);
    expect(stderr).toMatch(
      /moved this machine's identity and state from \/root\/\.local\/state\/autogit-node to \/var\/lib/,
    );
    await until('the first one ended', () => foreground?.exitCode === 0);
    const same = async () => {
      const after = await until('the service leads', async () => {
        const now = await status();
        return now.leader && now.nodes[0]?.capacity && now;
      });
      expect(after.mesh).toEqual(before.mesh);
      expect(after.nodes.map(({ node, id, labels }) => [node, id, labels])).toEqual([
        ['server', before.nodes[0]?.id, ['fast']],
      ]);
      expect(after.attention.map((one) => one.code)).not.toContain('no-executor');
    };
    await same();
    const unit = read('/etc/systemd/system/autogit-node.service');
    expect(unit).toMatch(
      /--home \/var\/lib\/autogit-node --config \/root\/\.config\/autogit-node\/autogit\.yml join --service$/m,
    );
    expect(unit).toMatch(/^UMask=0077$/m);
    expect(
      execFileSync('nsenter', [...inside(), '/usr/local/bin/autogit-node', 'id'], {
        env: env(),
        encoding: 'utf8',
      }).trim(),
    ).toBe(before.nodes[0]?.id);

    expect(cli('service', 'install').code).toBe(0);
    await same();
    expect(cli('leave').stdout).toMatch(
      /^handed over; .* systemd starts it again in 2 s\. .*stop autogit-node; for good: sudo .*service uninstall$/m,
    );
    expect(cli('service', 'uninstall').stdout).toMatch(/its state stays in \/var\/lib\/autogit-node/);
    expect(spawnSync('nsenter', [...inside(), 'ls', '/usr/local/bin/autogit-node']).status).not.toBe(0);
  }, 90_000);

  it('leaves with every version that it put there, and with nothing else', () => {
    const opt = (command: string) =>
      spawnSync('nsenter', [...inside(), 'sh', '-c', `cd /opt/autogit-node && ${command}`], { encoding: 'utf8' })
        .stdout;
    expect(cli('service', 'install').code).toBe(0);
    const here = opt('ls').trim();
    const about = (version: string) => `echo '{"name":"autogit-node","version":"${version}"}' >${version}/package.json`;
    opt(`cp -r ${here} 0.0.8 && ${about('0.0.8')} && cp -r ${here} 0.0.9 && ${about('0.0.9')} && touch 0.0.9/notes`);
    opt(`mkdir other && echo '{"name":"other","version":"other"}' >other/package.json`);
    opt(
      `mv ${here} ../it && ln -s /opt/it 0.0.7 && mkdir -p ${here} && cp -r ../it/. ${here} && cp -r ../it ${here}.4711`,
    );
    expect(opt('ls').trim().split('\n')).toEqual(['0.0.7', '0.0.8', '0.0.9', here, `${here}.4711`, 'other']);
    const { code, stdout, stderr } = cli('service', 'uninstall');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/is gone/)]);
    expect(opt('ls').trim().split('\n')).toEqual(['0.0.7', '0.0.9', 'other']);
    expect(opt('ls ../it')).toContain('package.json');
    expect(stderr).toMatch(
      new RegExp(
        `^removed /opt/autogit-node/0\\.0\\.8, /opt/autogit-node/${here}, /opt/autogit-node/${here}\\.4711$`,
        'm',
      ),
    );
    for (const name of ['0.0.7', '0.0.9', 'other'])
      expect(stderr).toContain(`kept /opt/autogit-node/${name}: nothing in it says`);
    opt('rm -r 0.0.7 0.0.9 other');
    expect(cli('service', 'install').code).toBe(0);
    expect(cli('service', 'uninstall').stderr).not.toContain('kept');
    expect(opt('pwd')).toBe('');
  }, 60_000);

  it('refuses a home that systemd would misread while its agent still runs', async () => {
    const home = '/root/my agent';
    const words = ['--home', home, '--no-input', 'join', '--new', 'odd', '--witness', ...local];
    foreground = spawn('nsenter', [...inside(), process.execPath, bin, ...words], { env: env(), stdio: 'ignore' });
    const leads = () => cli('status', '--json', '--home', home).stdout.includes('"leader"');
    await until('it leads', async () => leads());
    const { code, stderr } = cli('service', 'install', '--home', home);
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining(`systemd cannot take this home: ${home}\nfix: give it`),
    ]);
    expect(leads()).toBe(true);
    expect(cli('config', '--home', home, '--json').stdout).not.toContain('autogit.yml:');
  });

  it('makes each process job a user of its own where nobody chose one, and changes no choice (security A10)', async () => {
    const config = '/root/.config/autogit-node/autogit.yml';
    const write = (text: string): void =>
      void spawnSync(
        'nsenter',
        [...inside(), 'sh', '-c', `mkdir -p ${config.replace('/autogit.yml', '')}; cat >${config}`],
        {
          input: text,
        },
      );
    write('# mine\nnew: homelab\nexecutors: [process]\nmdns: off\nlisten: /ip4/127.0.0.1/tcp/0\n');
    const { code, stderr } = cli('service', 'install');
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/wrote user: auto to \S+: each process job is a user of its own/),
    ]);
    expect(read(config)).toMatch(/^# mine\n.*\nuser: auto\n$/s);
    await until('the service leads', async () => (await status()).leader);
    expect(read('/run/systemd/out')).toMatch(/process .*each job as a user of its own/);
    write(read(config).replace('user: auto', 'user: root'));
    expect(cli('service', 'install').stderr).not.toContain('user:');
    expect(read(config)).toContain('user: root');
  }, 60_000);

  // Hung three times of six on 2026-12-01, beside others' work: why is not known, and to be found.
  it('the question after joined: n leaves the agent in its terminal, Enter makes it a service', {
    timeout: 90_000,
    retry: 2,
  }, async () => {
    const words = ['join', '--new', 'homelab', '--name', 'server', '--executor', 'process', '--user', 'root', ...local];
    const terminal = () => new Terminal(['nsenter', ...inside(), process.execPath, bin, ...words], env());
    const question = /Start at boot, as a service, from now on\? \[Y\/n\] $/;
    const first = terminal();
    let second: Terminal | null = null;
    try {
      await first.until(question);
      first.type('what\r');
      await first.until(/from\s+now\s+on\?\s+\[Y\/n\] [\s\S]*from\s+now\s+on\?\s+\[Y\/n\] $/);
      first.type('n\r');
      await new Promise((resolve) => setTimeout(resolve, 500));
      const before = await status();
      expect(before.nodes.map(({ node }) => node)).toEqual(['server']);
      expect(cli('service', 'status').code).not.toBe(0);
      first.type('\u0003');
      await first.ended;
      expect(first.shown).toContain('leaving the mesh');

      second = terminal();
      await second.until(question);
      second.type('\r');
      expect([await second.ended, second.shown]).toEqual([0, expect.stringMatching(/runs now and at boot/)]);
      const after = await until('the service leads', async () => {
        const now = await status();
        return now.leader && now;
      });
      expect([after.mesh, after.nodes[0]?.id]).toEqual([before.mesh, before.nodes[0]?.id]);
      expect(cli('service', 'status').code).toBe(0);
      spawnSync('nsenter', [...inside(), `${dir}/bin/systemctl`, 'disable'], { env: env() });
      const unit = read('/etc/systemd/system/autogit-node.service');
      expect(unit).toContain('join --service');
    } finally {
      first.kill();
      second?.kill();
    }
  });

  it("never makes root run a user's file: Node.js of such a place is copied", async () => {
    const mine = join(dir, 'nvm', 'node');
    mkdirSync(join(dir, 'nvm'));
    copyFileSync(process.execPath, mine);
    for (const path of [mine, join(dir, 'nvm')]) chownSync(path, 12345, 12345);
    execFileSync('chmod', ['755', mine, dir]);
    const { status: code, stderr } = spawnSync('nsenter', [...inside(), mine, bin, 'service', 'install'], {
      env: { ...env(), AUTOGIT_MDNS: 'off' },
      encoding: 'utf8',
    });
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/nvm.* can be changed by uid 12345: the service runs a copy/),
    ]);
    expect(read('/etc/systemd/system/autogit-node.service')).toMatch(
      /^ExecStart=\/opt\/autogit-node\/\S+\/bin\/node /m,
    );
    expect(existsSync(mine) && readFileSync(mine).length).toBe(readFileSync(process.execPath).length);
  }, 60_000);

  it('leads who is not root to the service of the machine, which he may look at', () => {
    execFileSync('chmod', ['755', dir]);
    const user = ['setpriv', '--reuid=12345', '--regid=12345', '--clear-groups', process.execPath, bin];
    const home = join(dir, 'home');
    const asUser = (...args: string[]) => {
      const words = [...inside(), ...user, 'service', ...args];
      const {
        status: code,
        stdout,
        stderr,
      } = spawnSync('nsenter', words, {
        env: { ...env(), HOME: home },
        encoding: 'utf8',
      });
      return { code, stdout, stderr };
    };
    expect(asUser('status')).toMatchObject({ code: 3, stdout: expect.stringMatching(/^not installed .*home/) });
    const unit = '/etc/systemd/system/autogit-node.service';
    execFileSync('nsenter', [...inside(), 'sh', '-c', `echo '[Unit]' >${unit}`]);
    expect(asUser('status').stdout).toMatch(/^inactive +\/etc\/systemd\/system/);
    // A second agent would be a second identity of this machine.
    for (const verb of ['install', 'uninstall'])
      expect(asUser(verb)).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(new RegExp(`is the system's \\(${unit}\\)\nfix: sudo .*service ${verb}\n`)),
      });
    const own = join(home, '.config/systemd/user');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'autogit-node.service'), '[Unit]\n');
    expect(asUser('status').stdout).toContain(own);
  }, 60_000);

  it('puts no program of root where others may change it, and says the fix', () => {
    const opt = (command: string) => spawnSync('nsenter', [...inside(), 'sh', '-c', command], { encoding: 'utf8' });
    opt('chown 12345:12345 /opt && chmod 775 /opt');
    const { code, stderr } = cli('service', 'install');
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(
        /^error: \/opt can be changed by others \(uid 12345, mode 775\).*\nfix: chown 0 \/opt && chmod go-w \/opt$/m,
      ),
    ]);
    expect(opt('ls -A /opt/autogit-node /etc/systemd/system').stdout).not.toMatch(/dist|service/);
    opt(/fix: (.*)$/m.exec(stderr)?.[1] ?? 'false');
    expect(cli('service', 'install').code).toBe(0);
  }, 60_000);
});
