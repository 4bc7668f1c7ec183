import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { replaceFile, systemTools } from '../../node/hosting/system-tools.ts';
import { sentenceOf } from '../../protocol/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 't-replace-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a file that is replaced', () => {
  it('by several at once is what the last one wrote, and none of them fails', async () => {
    const path = join(folder, 'notes.json');
    const texts = Array.from({ length: 20 }, (_, index) => `${index}`);
    await Promise.all(texts.map((text) => replaceFile(path, text, systemTools)));
    expect([readFileSync(path, 'utf8'), readdirSync(folder)]).toEqual(['19', ['notes.json']]);
  });

  it('is replaced by the next, where one before it failed', async () => {
    const path = join(folder, 'other.json');
    let fails = true;
    const tools = {
      ...systemTools,
      write: async (file: string, text: string) => {
        if (fails) throw new Error('no space left on device');
        await systemTools.write(file, text);
      },
    };
    const first = replaceFile(path, 'a', tools);
    await expect(first).rejects.toThrow('no space left');
    fails = false;
    await replaceFile(path, 'b', tools);
    expect(readFileSync(path, 'utf8')).toBe('b');
  });
});

it('what Node says of two paths is not taken for a sentence and its fix', () => {
  const said = Object.assign(new Error("ENOENT: no such file or directory, rename '/a' -> '/b'"), { code: 'ENOENT' });
  expect(sentenceOf(said)).toBe("ENOENT: no such file or directory, rename '/a' to '/b'");
});
