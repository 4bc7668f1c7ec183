import { describe, expect, it } from 'vitest';
import { upgradeChecks } from '../../node/hosting/upgrade/upgrade-checks.ts';
import { upgradeWay } from '../../scheduler/hosting/upgrade-path.ts';

type Facts = Parameters<typeof upgradeChecks>[0];
const GiB = 2 ** 30;
const image = 'gitlab/gitlab-ce:17.6.0-ce.0';
const good: Facts = {
  version: '17.4.1',
  way: upgradeWay('17.4.1', image),
  image: { name: 'gitlab/gitlab-ce:17.5.5-ce.0', state: 'pullable', architectures: ['amd64', 'arm64'], problem: null },
  architecture: 'amd64',
  place: { kind: 'image', path: '/srv/gitlab', freeBytes: 30 * GiB, needsBytes: 3 * GiB },
  memory: { availableBytes: 8 * GiB, needsBytes: 4 * GiB },
  busy: null,
  isServing: true,
  rehearse: true,
  elsewhere: ['copies on desktop-1', 'backup 7f0e2902'],
};
const lines = (more: Partial<Facts> = {}): string[] =>
  upgradeChecks({ ...good, ...more }).map(({ state, what, sentence }) => `${state} ${what}: ${sentence}`);
const failed = (more: Partial<Facts>): string[] => lines(more).filter((line) => line.startsWith('fail'));

describe('before an upgrade', () => {
  it('what is fit is told, with the way and what there is to go back to', () => {
    expect(lines()).toEqual([
      'ok version: 17.4.1 to 17.6.0, by way of 17.5.5, where GitLab must stop',
      'ok image: gitlab/gitlab-ce:17.5.5-ce.0, to be pulled while GitLab serves',
      'ok place: what GitLab is now is kept beside it; 30 GiB are free',
      'ok rehearsal: on a clone first, beside what serves',
      'ok way back: what is kept on this machine; copies on desktop-1 and backup 7f0e2902',
    ]);
  });

  it.each<[string, Partial<Facts>, RegExp]>([
    ['a GitLab that never worked', { version: null, way: null }, /has not worked here yet/],
    ['an older version', { way: upgradeWay('17.4.1', 'gitlab/gitlab-ce:17.3.0-ce.0') }, /is older than 17.4.1/],
    ['what is ill', { isServing: false }, /does not serve now/],
    ['a restore under way', { busy: 'this machine is at a restore' }, /is at a restore/],
    ['another kind of machine', { architecture: 'riscv64' }, /is for amd64, arm64, and this machine is riscv64/],
    [
      'an image that is nowhere',
      { image: { ...good.image, state: 'missing', problem: 'not found' } },
      /cannot be had: not found/,
    ],
    ['a plain folder', { place: { ...good.place, kind: 'folder' } }, /no snapshot is kept: there would be no way back/],
    ['no memory for a clone', { memory: { availableBytes: GiB, needsBytes: 4 * GiB } }, /needs 4 GiB of memory/],
  ])('%s is refused, in one line', (_what, more, because) => {
    expect(failed(more)).toEqual([expect.stringMatching(because)]);
  });

  it('without a rehearsal no memory is needed; without copies and backup the only way back is said', () => {
    const bare = lines({ rehearse: false, memory: { availableBytes: 0, needsBytes: GiB }, elsewhere: [] });
    expect(bare.filter((line) => !line.startsWith('ok'))).toEqual([
      'warn rehearsal: it is not tried on a clone first',
      'warn way back: nothing but what is kept on this machine: GitLab has no copy elsewhere, and no backup',
    ]);
  });
});
