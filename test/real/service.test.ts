import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leavePatienceMs } from '../../node/agent/sleep.ts';
import { makeProgramFolder } from '../../node/cli/changeable-path.ts';
import { copyProgram, unitText } from '../../node/cli/service-files.ts';
import { groupId } from '../../node/store/home.ts';
import setUpBundle from '../e2e/bundle.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
let dir: string;
beforeAll(() => {
  if (!existsSync(join(root, 'dist', 'agent.cjs'))) setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-service-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the service', () => {
  it('runs from a copy of its own, native parts included, twice the same', () => {
    const target = join(dir, '0.1.0');
    // As npm leaves it where root's umask is 0.
    chmodSync(join(root, 'dist', 'THIRD-PARTY.txt'), 0o666);
    for (let i = 0; i < 2; i++) {
      const bin = copyProgram(target);
      expect(bin).toBe(join(target, 'dist', 'autogit-node.cjs'));
      expect(readdirSync(dir)).toEqual(['0.1.0']);
      const modes = execFileSync('find', [target, '-perm', '/022', '!', '-type', 'l'], { encoding: 'utf8' });
      expect(modes).toBe('');
      const all = execFileSync(process.execPath, [bin, '--home', join(dir, '0.1.0', 'h'), 'doctor', '--json'], {
        encoding: 'utf8',
        env: { ...process.env, AUTOGIT_MDNS: 'off' },
      });
      expect(JSON.parse(all)).toMatchObject({ findings: expect.any(Array) });
    }
    const script = `require('module').createRequire(${JSON.stringify(join(target, 'dist', 'x.js'))})('classic-level')`;
    execFileSync(process.execPath, ['-e', script]);
    expect(readdirSync(join(target, 'node_modules'))).not.toContain('libp2p');
  });

  it('fills in the unit, and refuses what systemd would misread', () => {
    const places = {
      node: '/usr/bin/node',
      bin: '/opt/a/autogit-node.cjs',
      home: '/var/lib/autogit-node',
      target: 'multi-user.target',
    };
    const unit = unitText(places);
    expect(unit).toContain(
      'ExecStart=/usr/bin/node /opt/a/autogit-node.cjs --home /var/lib/autogit-node join --service\n',
    );
    expect(unit).toContain('WantedBy=multi-user.target');
    expect(unit).not.toMatch(/@[A-Z]+@/);
    // A polite leave must be over, and the store closed, before systemd kills.
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) * 1000).toBeGreaterThanOrEqual(3 * leavePatienceMs);
    for (const home of ['/a b', '/a"b', '/a%b', '/a$b', '/a\nExecStartPre=/bin/x'])
      expect(() => unitText({ ...places, home })).toThrow(/systemd cannot take/);
  });

  it('takes away only what hides nothing from jobs, and from root alone', () => {
    const places = { node: process.execPath, bin: '/opt/a/autogit-node.cjs', home: '/var/lib/autogit-node' };
    const system = unitText({ ...places, target: 'multi-user.target' });
    const user = unitText({ ...places, target: 'default.target' });
    // A private mount namespace would hide a volume mounted later (docs/hosting.md); no-new-privileges and filters of system calls
    // (which set it in a user's service) would take sudo, fakeroot, bubblewrap or 32-bit programs from jobs; device rules their GPUs.
    const directives = (text: string): string[] => [...text.matchAll(/^(\w+)=/gm)].map((match) => match[1] as string);
    const forbidden =
      /^(?:Protect|Private|ReadOnly|ReadWrite|Inaccessible|NoExec|ExecPaths|Temporary|Bind|Root|Mount|State|Cache|Logs|Runtime|Configuration|NoNew|Restrict(?!Prevent)|SystemCall|MemoryDeny|Lock|Dynamic|Device|Ambient)/;
    expect([...directives(system), ...directives(user)].filter((name) => forbidden.test(name))).toEqual([]);
    expect(directives(system)).toEqual(expect.arrayContaining(['UMask', 'LimitCORE', 'CapabilityBoundingSet']));
    // A user's systemd may not, and the service would not start.
    expect(directives(user)).not.toContain('CapabilityBoundingSet');
    const taken = [...system.matchAll(/^CapabilityBoundingSet=~(.*)$/gm)].flatMap((match) =>
      (match[1] as string).split(' '),
    );
    expect(taken).toContain('CAP_SYS_MODULE');
    // What the executors, a job with sudo, or the mount of a volume needs.
    const needed = [
      'SETUID',
      'SETGID',
      'CHOWN',
      'FOWNER',
      'DAC_OVERRIDE',
      'KILL',
      'SYS_ADMIN',
      'SYS_NICE',
      'SYS_RESOURCE',
      'NET_ADMIN',
    ];
    needed.push(
      'AUDIT_WRITE',
      'SETPCAP',
      'SYS_CHROOT',
      'SYS_PTRACE',
      'LINUX_IMMUTABLE',
      'MKNOD',
      'IPC_LOCK',
      'NET_RAW',
    );
    expect(needed.filter((name) => taken.includes(`CAP_${name}`))).toEqual([]);
  });

  it('is understood by systemd, for root and for a user', () => {
    for (const target of ['multi-user.target', 'default.target']) {
      const file = join(dir, 'autogit-node.service');
      writeFileSync(file, unitText({ node: process.execPath, bin: '/opt/a.cjs', home: '/var/lib/a', target }));
      const { error, status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
        encoding: 'utf8',
      });
      if (error) throw error;
      expect([status, stderr.split('\n').filter((line) => line.includes('autogit-node'))]).toEqual([0, []]);
    }
  });

  it('runs no program that others may put in its place', () => {
    const open = join(dir, 'open');
    mkdirSync(join(open, 'inner'), { recursive: true });
    chmodSync(open, 0o777);
    for (const folder of [join(open, 'autogit-node'), join(open, 'inner')])
      expect(() => makeProgramFolder(folder)).toThrow(
        expect.objectContaining({
          code: 'unsupported',
          hint: `chmod go-w ${open}`,
          message: expect.stringContaining('mode 777'),
        }),
      );
    // By a link in a place of its own the program would lie there all the same.
    symlinkSync(join(open, 'inner'), join(dir, 'link'));
    expect(() => makeProgramFolder(join(dir, 'link'))).toThrow(/can be changed by others/);
    chmodSync(open, 0o755);
    expect(() => makeProgramFolder(join(open, 'autogit-node'))).not.toThrow();
    // Others may make files in a sticky folder, and not replace ours.
    chmodSync(open, 0o1777);
    expect(() => makeProgramFolder(join(open, 'inner'))).not.toThrow();
  });

  it('finds its group', () => {
    expect(groupId('autogit-node', 'root:x:0:\nautogit-node:x:998:ada\n')).toBe(998);
    expect(groupId('autogit-node', 'root:x:0:\nautogit-nodes:x:998:\n')).toBeNull();
  });
});
