import { beforeAll, describe, expect, it } from 'vitest';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { dayAt, dayMs, drawPeople, mesh, SecretsRig, who } from './secrets-rig.ts';

beforeAll(drawPeople);
const endOf = ({ ledger }: SecretsRig): string | null =>
  ledger.gitlab.tokenEnds === undefined ? null : dayAt(ledger.gitlab.tokenEnds);

describe("the end of GitLab's token", () => {
  it('is asked once, told to the mesh, and asked again for another token, by whoever leads alone', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2027-11-29';
    const [leader, other] = [rig.keeper(0), rig.keeper(1)];
    for (let second = 0; second < 30; second++) for (const keeper of [leader, other]) await keeper.look();
    expect([endOf(rig), rig.asked, rig.gitlab.calls]).toEqual(['2027-11-29', 1, []]);
    // GitLab's administrator has changed it: seen a quarter of a day later.
    rig.gitlab.ends = null;
    await leader.look();
    rig.now += 6 * 3_600_000;
    await other.look();
    expect(endOf(rig)).toBe('2027-11-29');
    await leader.look();
    expect(endOf(rig)).toBeNull();
    rig.gitlab.ends = '2027-01-05';
    rig.apply({
      kind: 'connect-gitlab',
      url: 'http://gl',
      token: rig.box(0).sealForVoters('glpat-old'),
      instance: null,
      runnerTokens: [],
    });
    await leader.look();
    expect(endOf(rig)).toBe('2027-01-05');
  });
  it('is a week away: the mesh renews it for as long as GitLab allows, and goes by the new one', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-08';
    await rig.live(5, 0, 1);
    expect(rig.gitlab.calls).toEqual([]);
    rig.wallMs += dayMs;
    await rig.live(5, 0, 1);
    expect(rig.gitlab.calls).toEqual(['second', 'revoke']);
    expect(rig.opens(1, rig.ledger.gitlab.token)).toBe('glpat-old+');
    expect(endOf(rig)).toBe(dayAt(rig.wallMs + 364 * dayMs));
    expect(rig.lives('glpat-old')).toBe(false);
  });
  it('is near, and the answer with the new one is lost: the mesh still has one that opens GitLab, and asks again an hour later', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-03';
    rig.seconds.lost = 1;
    const keeper = rig.keeper(0);
    for (let minute = 0; minute < 70; minute++) {
      rig.now += 60_000;
      await keeper.look();
      expect(rig.lives(rig.opens(0, rig.ledger.gitlab.token) ?? ''), `after ${minute} min`).toBe(true);
    }
    expect([rig.tries, rig.gitlab.calls]).toEqual([2, ['second', 'revoke']]);
    expect(rig.opens(1, rig.ledger.gitlab.token)).toBe('glpat-old+');
  });
  it('is near, and GitLab gives no second one: it is rotated', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-03';
    rig.seconds.refused = true;
    await rig.live(10, 0, 1);
    expect(rig.gitlab.calls).toEqual(['admin']);
    expect(rig.opens(1, rig.ledger.gitlab.token)).toBe('glpat-old+');
  });
  it('is near, and GitLab is away once the mesh goes on by a second one: the one of before is ended as soon as it answers', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-03';
    rig.failsAs = 'gitlab-unreachable';
    const keeper = rig.keeper(0);
    while (rig.gitlab.beside === null) await keeper.look();
    rig.gitlab.fails = true;
    for (let look = 0; look < 3; look++) {
      rig.now += 31_000;
      await keeper.look();
    }
    expect([rig.opens(1, rig.ledger.gitlab.token), rig.lives('glpat-old')]).toEqual(['glpat-old+', true]);
    rig.gitlab.fails = false;
    rig.now += 31_000;
    await keeper.look();
    expect(rig.lives('glpat-old')).toBe(false);
  });
  it('is near, and a person has connected by the one of before again, when a second one is there: that one is not ended', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-03';
    const keeper = rig.keeper(0);
    while (rig.gitlab.beside === null) await keeper.look();
    // What was asked for is seen to be there.
    await keeper.look();
    const { gitlab } = rig.ledger;
    rig.ledger = { ...rig.ledger, gitlab: { ...gitlab, token: rig.box(0).sealForVoters('glpat-old') } };
    for (let look = 0; look < 3; look++) {
      rig.now += 31_000;
      await keeper.look();
    }
    expect([rig.lives('glpat-old'), rig.gitlab.calls.includes('revoke')]).toEqual([true, false]);
  });

  it('has passed, or a GitLab refuses or does not answer: nothing is rotated, and it is not asked each second', async () => {
    const ended = new SecretsRig(mesh());
    ended.gitlab.ends = '2026-11-30';
    await ended.live(10, 0);
    expect([ended.gitlab.calls, ended.asked]).toEqual([[], 1]);
    for (const [failsAs, most] of [
      ['gitlab-refused', 1],
      ['gitlab-unreachable', 3],
    ] as const) {
      const rig = new SecretsRig(mesh());
      Object.assign(rig, { failsAs });
      rig.gitlab.fails = true;
      await rig.live(700, 0);
      expect([failsAs, rig.asked, endOf(rig)]).toEqual([failsAs, most, null]);
    }
  });
  it('is near, and GitLab refuses to renew it: it is asked again each hour, not at each look', async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-03';
    const keeper = rig.keeper(0);
    // Sealing for the voters and reading the day come first.
    while (endOf(rig) === null) await keeper.look();
    rig.gitlab.fails = true;
    for (let minute = 0; minute < 180; minute++) {
      rig.now += 60_000;
      await keeper.look();
    }
    // Each time for a second one, and then for a rotation.
    expect(rig.tries).toBe(6);
    rig.gitlab.fails = false;
    rig.now += 3_600_000;
    await keeper.look();
    expect(rig.gitlab.calls).toEqual(['second']);
  });
  it('is never farther than a week, where GitLab allows no more: it is renewed once a day', async () => {
    const rig = new SecretsRig(mesh());
    Object.assign(rig.gitlab, { ends: '2026-12-03', longest: 7 });
    const keeper = rig.keeper(0);
    for (let hour = 0; hour < 48; hour++) {
      rig.now += 3_600_000;
      rig.wallMs += 3_600_000;
      for (let look = 0; look < 4; look++) await keeper.look();
    }
    expect(rig.gitlab.calls).toEqual(['second', 'revoke', 'second', 'revoke']);
  });
  it("of the mesh's own GitLab is its host's business", async () => {
    const rig = new SecretsRig(mesh());
    rig.gitlab.ends = '2026-12-01';
    rig.ledger = {
      ...rig.ledger,
      gitlab: { ...rig.ledger.gitlab, mode: 'hosted', host: who(0).id, hosted: hostedGitlab({}) },
    };
    await rig.live(10, 0);
    expect([rig.asked, rig.gitlab.calls]).toEqual([0, []]);
  });
});
