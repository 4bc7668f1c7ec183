import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leavePatienceMs } from '../../node/agent/sleep.ts';
import { copyProgram, unitText } from '../../node/cli/service-files.ts';
import { groupId } from '../../node/home.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
let dir: string;
beforeAll(() => {
  if (!existsSync(join(root, 'dist', 'agent.cjs')))
    execFileSync(process.execPath, ['deploy/bundle.mjs'], { cwd: root });
  dir = mkdtempSync(join(tmpdir(), 'autogit-service-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the service', () => {
  it('runs from a copy of its own, native parts included, twice the same', () => {
    const target = join(dir, '0.1.0');
    for (let i = 0; i < 2; i++) {
      const bin = copyProgram(target);
      expect(bin).toBe(join(target, 'dist', 'autogit-node.cjs'));
      expect(readdirSync(dir)).toEqual(['0.1.0']);
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

  it('finds its group', () => {
    expect(groupId('autogit-node', 'root:x:0:\nautogit-node:x:998:ada\n')).toBe(998);
    expect(groupId('autogit-node', 'root:x:0:\nautogit-nodes:x:998:\n')).toBeNull();
  });
});
