import { describe, expect, it } from 'vitest';
import { gitlabFlags } from '../../node/settings/settings-gitlab.ts';
import { gitlabImageOf, isOfVersion, upgradeWay } from '../../scheduler/hosting/upgrade-path.ts';

const ce = (version: string): string => `gitlab/gitlab-ce:${version}-ce.0`;
const way = (from: string, to: string): string => {
  const found = upgradeWay(from, to);
  return 'steps' in found ? found.steps.map(({ version }) => version).join(' ') : found.refused;
};
const fix = (from: string, to: string): string | null => {
  const found = upgradeWay(from, to);
  return 'refused' in found ? found.fix : null;
};

describe('the way from one GitLab to a newer one', () => {
  it.each([
    // Patches, and minors between which nobody must stop.
    ['19.4.1', '19.4.2', '19.4.2'],
    ['19.2.0', '19.4.1', '19.4.1'],
    ['19.4.1', '19.5.3', '19.5.3'],
    ['18.11.0', '19.0.1', '19.0.1'],
    ['18.11.4', '19.2.3', '19.2.3'],
    ['17.11.0', '18.1.2', '18.1.2'],
    ['16.4.0', '16.7.9', '16.7.9'],
    // The stop itself is no stop before itself, and one that runs is passed.
    ['17.4.1', '17.5.2', '17.5.2'],
    ['17.5.1', '17.7.0', '17.7.0'],
    ['17.5.1', '17.8.0', '17.8.0'],
    ['17.3.0', '17.4.0', '17.4.0'],
    // By way of what was published, each at its last patch.
    ['17.4.1', '17.6.0', '17.5.5 17.6.0'],
    ['17.5.1', '17.9.0', '17.8.7 17.9.0'],
    ['17.2.0', '17.4.0', '17.3.7 17.4.0'],
    ['16.11.10', '17.2.1', '17.1.8 17.2.1'],
    ['16.8.0', '17.0.1', '16.11.10 17.0.1'],
    ['16.3.9', '16.9.0', '16.7.10 16.9.0'],
    ['15.11.13', '16.3.0', '16.0.10 16.1.8 16.2.11 16.3.0'],
    ['15.3.0', '15.5.0', '15.4.6 15.5.0'],
    [
      '15.0.5',
      '18.1.0',
      '15.4.6 15.11.13 16.0.10 16.1.8 16.2.11 16.3.9 16.7.10 16.11.10 17.1.8 17.3.7 17.5.5 17.8.7 17.11.7 18.1.0',
    ],
    ['17.9.2', '18.2.1', '17.11.7 18.2.1'],
    // Another one's suffix is no edition.
    ['19.3.0-practice', '19.4.1', '19.4.1'],
  ])('%s to %s: %s', (from, to, steps) => {
    expect(way(from, ce(to))).toBe(steps);
  });

  it.each([
    ['19.4.1', '19.6.0', '19.5'],
    ['19.1.0', '19.4.1', '19.2'],
    ['18.3.0', '19.4.1', '18.5'],
    ['18.10.2', '19.0.0', '18.11'],
    ['19.4.1', '20.1.0', '19.5'],
    ['17.11.7', '19.4.1', '18.2'],
  ])('%s to %s is not begun: the next stop, %s, is named, with what to type', (from, to, stop) => {
    expect(way(from, ce(to))).toContain(`between GitLab ${from} and ${to} lies ${stop}, at which GitLab must stop`);
    expect(fix(from, ce(to))).toContain(`autogit-node gitlab upgrade --image gitlab/gitlab-ce:${stop}.N-ce.0`);
  });

  it.each([
    ['19.4.1', ce('19.4.1'), 'GitLab 19.4.1 runs already'],
    ['19.4.1', ce('19.4.0'), 'GitLab 19.4.0 is older than 19.4.1'],
    ['19.4.1', ce('18.11.9'), 'GitLab 18.11.9 is older than 19.4.1'],
    ['19.10.0', ce('19.9.0'), 'GitLab 19.9.0 is older than 19.10.0'],
    ['14.10.5', ce('15.0.5'), 'GitLab 14.10.5 is older than 15.0'],
    ['19.4.1', 'gitlab/gitlab-ee:19.5.0-ee.0', 'another edition (EE) than the one that runs (CE)'],
    ['19.4.1-ee', ce('19.5.0'), 'another edition (CE) than the one that runs (EE)'],
    ['19.4.1', 'gitlab/gitlab-ce:latest', 'does not say which version'],
    ['19.4.1', 'gitlab/gitlab-ce', 'does not say which version'],
    ['19.4.1', 'gitlab/gitlab-ce:19.5.0', 'does not say which version'],
    ['19.4.1', 'gitlab/gitlab-ce:nightly', 'does not say which version'],
    ['19.4.1', `gitlab/gitlab-ce@sha256:${'0'.repeat(64)}`, 'does not say which version'],
    ['a-branch', ce('19.5.0'), 'no version that this program knows'],
  ])('%s to %s is refused: %s', (from, image, because) => {
    expect(way(from, image)).toContain(because);
  });

  it("a mirror's stops are of the mirror, and a digest beside the tag is of that image alone", () => {
    const found = upgradeWay('17.4.1', `mirror.lan:5000/gl/gitlab-ce:17.6.0-ce.0@sha256:${'a'.repeat(64)}`);
    expect('steps' in found && found.steps.map(({ image }) => image)).toEqual([
      'mirror.lan:5000/gl/gitlab-ce:17.5.5-ce.0',
      `mirror.lan:5000/gl/gitlab-ce:17.6.0-ce.0@sha256:${'a'.repeat(64)}`,
    ]);
  });

  it('what GitLab says of itself is held against its image', () => {
    expect(isOfVersion('19.4.1', ce('19.4.1'))).toBe(true);
    expect(isOfVersion('19.4.0', ce('19.4.1'))).toBe(false);
    expect(isOfVersion('19.4.1-ee', ce('19.4.1'))).toBe(false);
    expect(isOfVersion('nonsense', ce('19.4.1'))).toBe(false);
  });

  it('the version that this program knows as the newest is one', () => {
    const image = gitlabFlags.find(({ key }) => key === 'gitlab.image')?.default as string;
    expect(gitlabImageOf(image)?.version).toMatchObject({ edition: 'ce' });
  });
});
