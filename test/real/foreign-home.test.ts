import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkAgent } from '../../node/doctor/mesh-checks.ts';
import { findAgent } from '../../node/local-api/socket-client.ts';

const isRoot = process.getuid?.() === 0;

describe('a home of another user', () => {
  it('is said as such, by doctor too: whether an agent runs there cannot be seen', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'autogit-foreign-'));
    const shut = join(folder, 'shut');
    mkdirSync(shut, { mode: isRoot ? 0o700 : 0 });
    if (isRoot) chmodSync(folder, 0o755);
    if (isRoot) process.seteuid?.(65_534);
    try {
      expect(() => findAgent([join(folder, 'none'), shut])).toThrow(`${shut} belongs to another user`);
      expect(() => findAgent([join(folder, 'none')])).toThrow('no agent is running here');
      const told = async (home: string) => (await checkAgent([home])).findings[0];
      expect(await told(shut)).toMatchObject({ state: 'warn', sentence: `${shut} belongs to another user` });
      expect(await told(join(folder, 'none'))).toMatchObject({ state: 'ok', sentence: 'does not run here' });
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(shut, 0o700);
      rmSync(folder, { recursive: true });
    }
  });
});
