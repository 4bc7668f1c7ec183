import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { imageOfData, leftVersionLines } from '../../node/hosting/data-version.ts';

/** Data that an uninstalled GitLab left, and the image that shall run on them. */
const folder = mkdtempSync(join(tmpdir(), 'autogit-data-version-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
/** An image that nobody has mounted, with what its claim says beside what each has. */
function closed(more: object): { kind: 'image'; path: string } {
  count += 1;
  const path = join(folder, String(count));
  mkdirSync(path);
  const claim = { mesh: 'm', data: 'd', kind: 'image', state: 'made', fsid: null, reserveBytes: 0, ...more };
  writeFileSync(join(path, 'autogit-place.json'), JSON.stringify(claim));
  return { kind: 'image', path };
}
const asked = (at: ReturnType<typeof closed>, image: string) => {
  const [line] = leftVersionLines(at, image);
  return line && [line.state, line.fix];
};

it('another version than that of the data is refused before anything is begun, and the right image is named', () => {
  const at = closed({ version: '19.5.3', image: 'gitlab/gitlab-ce:19.5.3-ce.0' });
  const right = expect.stringMatching(/^theirs: --image gitlab\/gitlab-ce:19\.5\.3-ce\.0; .*gitlab upgrade;/);
  // An older one cannot read them; a newer one would change them with no way back.
  for (const image of ['gitlab/gitlab-ce:19.4.1-ce.0', 'gitlab/gitlab-ce:19.8.0-ce.0'])
    expect(asked(at, image)).toEqual(['fail', right]);
  expect(asked(at, 'gitlab/gitlab-ce:19.5.3-ce.0')).toEqual(['ok', null]);
  // A name without a version may be any; the one by which they ran is theirs.
  expect(asked(at, 'registry.lan/gitlab')).toEqual(['warn', right]);
  expect(asked(closed({ version: '19.5.3', image: 'registry.lan/gitlab' }), 'registry.lan/gitlab')).toEqual([
    'ok',
    null,
  ]);
});

it('what an earlier agent closed says nothing, which is said; what never worked has nothing to lose', () => {
  expect(asked(closed({}), 'gitlab/gitlab-ce:19.4.1-ce.0')?.[0]).toBe('warn');
  expect(asked(closed({ version: null }), 'gitlab/gitlab-ce:19.4.1-ce.0')).toBeUndefined();
});

it('the image of data is the one by which they ran, and else GitLab`s own of their edition', () => {
  expect(imageOfData({ version: '19.5.3', image: 'mirror.lan/gitlab-ce:19.5.3-ce.0' })).toBe(
    'mirror.lan/gitlab-ce:19.5.3-ce.0',
  );
  // It was to run on them, and never came up.
  expect(imageOfData({ version: '19.5.3', image: 'gitlab/gitlab-ce:19.4.1-ce.0' })).toBe(
    'gitlab/gitlab-ce:19.5.3-ce.0',
  );
  expect(imageOfData({ version: '19.5.3-ee', image: null })).toBe('gitlab/gitlab-ee:19.5.3-ee.0');
});

it('copies of it are no data: a machine that it moved away from cannot run it on them, seen in its tree or by its claim', () => {
  const words = 'holds copies of GitLab, and not the data with which it ran last';
  const state = (at: Parameters<typeof leftVersionLines>[0]) => {
    const [line] = leftVersionLines(at, 'gitlab/gitlab-ce:19.4.1-ce.0');
    return [line?.state, line?.sentence.includes(words)];
  };
  // An image that is not mounted says by its claim alone for what it was opened.
  expect(state(closed({ role: 'standby' }))).toEqual(['fail', true]);
  expect(state(closed({ role: 'host' }))).toEqual(['warn', false]);
  const { path } = closed({ kind: 'subvolume' });
  mkdirSync(join(path, 'copies'));
  expect(state({ kind: 'subvolume', path })).toEqual(['fail', true]);
  mkdirSync(join(path, 'live', 'data'), { recursive: true });
  expect(state({ kind: 'subvolume', path })[0]).not.toBe('fail');
});
