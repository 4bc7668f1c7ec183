import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPair, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identityFile, loadIdentity, readIdentity } from '../../node/secrets/identity.ts';
import { NodeId } from '../../protocol/ids.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-identity-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

describe('identity', () => {
  it('is made once, 0600, and stays', async () => {
    expect(await readIdentity(home)).toBeNull();
    expect(readdirSync(home)).toEqual([]);
    const first = await loadIdentity(home);
    expect(first.warnings).toEqual([]);
    expect(NodeId.parse(first.id)).toMatch(/^12D3KooW/);
    expect(statSync(identityFile(home)).mode & 0o777).toBe(0o600);
    expect(await loadIdentity(home)).toMatchObject({ id: first.id });
    expect(await readIdentity(home)).toBe(first.id);
    expect(readdirSync(home)).toEqual(['identity.key']);
  });

  it('two agents that start at once end with the same one', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => loadIdentity(home)));
    expect(new Set(all.map(({ id }) => id)).size).toBe(1);
  });

  it.each([
    ['garbage', Buffer.from('garbage')],
    ['nothing', Buffer.alloc(0)],
    ['half a key', null],
  ])('%s is refused, and left as it is', async (_name, content) => {
    await loadIdentity(home);
    const bytes = content ?? readFileSync(identityFile(home)).subarray(0, 30);
    writeFileSync(identityFile(home), bytes);
    await expect(loadIdentity(home)).rejects.toMatchObject({
      code: 'identity-unreadable',
      hint: expect.stringContaining('restore'),
    });
    expect(readFileSync(identityFile(home))).toEqual(bytes);
  });

  it('another kind of key is refused', async () => {
    writeFileSync(identityFile(home), privateKeyToProtobuf(await generateKeyPair('secp256k1')), { mode: 0o600 });
    await expect(loadIdentity(home)).rejects.toMatchObject({ code: 'identity-unreadable' });
  });

  it('a folder in its place is refused', async () => {
    const { mkdirSync } = await import('node:fs');
    mkdirSync(identityFile(home));
    await expect(loadIdentity(home)).rejects.toMatchObject({ code: 'identity-unreadable' });
  });

  it('one that others can read is closed, with a warning', async () => {
    const { id } = await loadIdentity(home);
    chmodSync(identityFile(home), 0o644);
    const again = await loadIdentity(home);
    expect(again.id).toBe(id);
    expect(again.warnings[0]).toMatch(/readable by others \(mode 644\)/);
    expect(statSync(identityFile(home)).mode & 0o777).toBe(0o600);
  });

  it('a home that is not there is an error with a fix', async () => {
    await expect(loadIdentity(join(home, 'missing'))).rejects.toMatchObject({ code: 'home-unwritable' });
  });
});
