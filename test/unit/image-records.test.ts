import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mustGo } from '../../node/executors/docker-images.ts';
import { familiarName, ImageRecords } from '../../node/executors/image-records.ts';

describe('records of images that jobs pulled', () => {
  const noted: string[] = [];
  const log = { warn: (sentence: string): void => void noted.push(sentence) };
  const own = { hasLogin: true, wasHere: false, before: null };

  it('go when room is short, what jobs use all day only when it is very short', () => {
    const hour = 3_600_000;
    expect([mustGo(14, 15, hour), mustGo(15, 15, hour), mustGo(14, 15, hour - 1), mustGo(4, 15, 0)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
    expect(mustGo(0, 0, hour)).toBe(false);
  });

  it('name images as the engine does', () => {
    expect(
      ['alpine', 'docker.io/library/alpine:3', 'index.docker.io/me/x', 'library/me/x:1', 'r.lan:5000/a/b'].map(
        familiarName,
      ),
    ).toEqual(['alpine:latest', 'alpine:3', 'me/x:latest', 'library/me/x:1', 'r.lan:5000/a/b:latest']);
    expect(familiarName('r.lan:5000/a:3@sha256:0a')).toBe('r.lan:5000/a@sha256:0a');
  });

  it('keep what the owner had under the name, and never call it ours', () => {
    const records = new ImageRecords(null, log, () => 5);
    records.pulled({ id: 'new', name: 'a', project: 'P', ...own, before: 'owners' });
    records.pulled({ id: 'there', name: 'b', project: 'P', ...own, wasHere: true });
    expect(records.removable()).toEqual([]);
    expect([records.rightOf('new', 'a', 'Q'), records.rightOf('there', 'b', 'Q')]).toEqual(['ask', 'own']);
    records.pulled({ id: 'ours', name: 'c', project: 'P', ...own });
    records.pulled({ id: 'newer', name: 'c', project: 'P', ...own, before: 'ours' });
    expect(records.removable().map(({ id }) => id)).toEqual(['ours', 'newer']);
  });

  it('guard what a pull left that nobody saw the end of, until one succeeds', () => {
    const home = mkdtempSync(join(tmpdir(), 'autogit-images-'));
    const restarted = () => new ImageRecords(home, log, () => 5);
    const rights = (records: ImageRecords, id: string) =>
      ['P', 'Q', 'R'].map((project) => records.rightOf(id, 'docker.io/library/a', project));
    restarted().begin('a', 'P');
    const records = restarted();
    expect(rights(records, 'x')).toEqual(['own', 'ask', 'ask']);
    // While another project pulls it, and when its registry has refused that.
    records.begin('a', 'Q');
    expect(rights(records, 'x')).toEqual(['ask', 'ask', 'ask']);
    records.failed('a', 'Q');
    expect(rights(restarted(), 'x')).toEqual(['own', 'ask', 'ask']);
    // It is what was here already: not the owner's for that.
    records.begin('a', 'Q');
    records.pulled({ id: 'x', name: 'a', project: 'Q', ...own, wasHere: true });
    expect(rights(restarted(), 'x')).toEqual(['own', 'own', 'ask']);
    expect(records.removable()).toEqual([]);
    // Two at once, one of which fails: the other is still being pulled.
    for (const project of ['P', 'Q']) records.begin('b', project);
    records.failed('b', 'Q');
    expect(records.rightOf('y', 'b', 'Q')).toBe('ask');
    rmSync(home, { recursive: true });
  });

  it('do not forget what comes while the engine is asked', async () => {
    const records = new ImageRecords(null, log, () => 5);
    records.pulled({ id: 'gone', name: 'a', project: 'P', ...own });
    await records.forgetMissing(async () => {
      records.pulled({ id: 'come', name: 'b', project: 'P', ...own });
      return new Set();
    });
    expect(records.removable().map(({ id }) => id)).toEqual(['come']);
  });

  it('outlive a restart, readable by the agent only; a file that is torn costs a warning, not the agent', () => {
    const home = mkdtempSync(join(tmpdir(), 'autogit-images-'));
    const file = join(home, 'images.json');
    new ImageRecords(home, log, () => 5).pulled({ id: 'x', name: 'a', project: 'P', ...own });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(new ImageRecords(home, log, () => 6).rightOf('x', 'other', 'Q')).toBe('ask');
    expect(noted).toEqual([]);
    for (const torn of ['', '[]', '{"v":2,"images":{},"pulling":{}}']) {
      writeFileSync(file, torn);
      expect(new ImageRecords(home, log, () => 6).isEmpty).toBe(true);
      expect(noted.pop()).toMatch(/images.json cannot be read.* kept as .*images.json.damaged/);
      expect(readFileSync(`${file}.damaged`, 'utf8')).toBe(torn);
    }
    rmSync(home, { recursive: true });
  });

  it('of which one is damaged cost the others nothing, and give its image to nobody unasked', () => {
    const home = mkdtempSync(join(tmpdir(), 'autogit-images-'));
    const file = join(home, 'images.json');
    const records = new ImageRecords(home, log, () => 5);
    records.pulled({ id: 'whole', name: 'a', project: 'P', ...own });
    records.pulled({ id: 'broken', name: 'b', project: 'P', ...own });
    records.begin('c', 'P');
    const { images, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(
      file,
      JSON.stringify({ ...rest, images: { ...images, broken: { names: 'b' } }, pulling: { 'c:latest': 7 } }),
    );
    const again = new ImageRecords(home, log, () => 6);
    expect(noted.pop()).toMatch(/2 entries of .*images.json cannot be read/);
    expect(['whole', 'broken'].map((id) => again.rightOf(id, id, 'P'))).toEqual(['own', 'ask']);
    expect(again.rightOf('other', 'c', 'P')).toBe('ask');
    expect(again.removable().map(({ id }) => id)).toEqual(['whole']);
    // A name that could not be read again is not written.
    again.begin('x'.repeat(600), 'P');
    again.begin('d', 'P');
    expect(new ImageRecords(home, log, () => 7).rightOf('whole', 'a', 'P')).toBe('own');
    expect(noted).toEqual([]);
    rmSync(home, { recursive: true });
  });
});
