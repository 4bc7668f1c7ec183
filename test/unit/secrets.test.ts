import { beforeAll, describe, expect, it } from 'vitest';
import { isEnvelopes, openEnvelope, recipientsOf, sealFor } from '../../node/secrets/envelope.ts';
import { seal, unseal } from '../../node/secrets/seal.ts';
import { SecretBox } from '../../node/secrets/secret-box.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { editsForRemovals } from '../../scheduler/membership-secrets.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { knownToRemoved, secretsDue } from '../../scheduler/secrets-due.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { drawPeople, mesh, meshKey, SecretsRig, who } from './secrets-rig.ts';

beforeAll(drawPeople);

describe('an envelope', () => {
  it('opens for whom it was sealed, is never the same twice, and for nobody else', () => {
    const sealed = sealFor([who(0).id, who(1).id], 'secret');
    expect(recipientsOf(sealed)).toEqual([who(0).id, who(1).id]);
    for (const index of [0, 1]) expect(openEnvelope(who(index).id, who(index).seed, sealed)).toBe('secret');
    expect(sealFor([who(0).id], 'secret')).not.toBe(sealFor([who(0).id], 'secret'));
    expect(() => openEnvelope(who(2).id, who(2).seed, sealed)).toThrow(/does not/);
    expect(() => openEnvelope(who(0).id, who(1).seed, sealed)).toThrow(/does not open/);
    const broken = sealed.replace(/:"[A-Za-z0-9+/]{20}/g, ':"AAAAAAAAAAAAAAAAAAAA');
    expect(() => openEnvelope(who(0).id, who(0).seed, broken)).toThrow(/does not open/);
    for (const rubbish of ['v2.', 'v2.{', 'v2.null', 'v2.[]', 'v1']) expect(recipientsOf(rubbish)).toEqual([]);
  });
});

describe("GitLab's token", () => {
  it('is sealed for those who vote as soon as all of them can read that: a witness and a plain member cannot open it', async () => {
    const rig = new SecretsRig(mesh());
    expect(rig.opens(2, rig.ledger.gitlab.token)).toBe('glpat-old');
    await rig.live(1, 0);
    expect([0, 1, 2].map((index) => rig.opens(index, rig.ledger.gitlab.token))).toEqual([
      'glpat-old',
      'glpat-old',
      null,
    ]);
  });
  it('follows the voters; who can open it steps in when the leader cannot', async () => {
    const rig = new SecretsRig(mesh());
    await rig.live(1, 0);
    const voters = { ...rig.ledger.configuration.voters, [who(2).id]: { store: 's', weight: 2 } };
    rig.ledger = { ...rig.ledger, configuration: { voters, next: null } };
    rig.leader = 2;
    await rig.live(12, 1, 2);
    expect(rig.opens(2, rig.ledger.gitlab.token)).toBe('glpat-old');
    rig.leader = 0;
    const { [who(1).id]: _, ...left } = voters;
    rig.ledger = { ...rig.ledger, configuration: { voters: left, next: null } };
    await rig.live(1, 0);
    expect(recipientsOf(rig.ledger.gitlab.token ?? '').sort()).toEqual([who(0).id, who(2).id].sort());
  });
  it('the key of the backups goes the same way', async () => {
    const rig = new SecretsRig(mesh());
    await rig.live(3, 0);
    const voters = recipientsOf(rig.ledger.gitlab.token ?? '');
    const keep = { daily: 7, weekly: 4, monthly: 6 };
    const secret = sealFor([who(0).id], 'key of the backups');
    const vault = {
      target: '/mnt',
      repository: '7f0e2902889beb10',
      secret,
      everyMs: 86_400_000,
      keep,
      since: 0,
      because: '',
    };
    rig.ledger = { ...rig.ledger, gitlab: { ...rig.ledger.gitlab, vault } };
    expect(voters.length).toBeGreaterThan(1);
    await rig.live(2, 0);
    const sealed = rig.ledger.gitlab.vault?.secret ?? '';
    expect(recipientsOf(sealed).sort()).toEqual([...voters].sort());
    expect(rig.opens(1, sealed)).toBe('key of the backups');
  });
  it('so does that of the certificate of a hosted GitLab, and its host has it too', async () => {
    const rig = new SecretsRig(mesh());
    const key = sealFor([who(0).id], '00ff');
    const https = { mark: '0123456789abcdef', box: 'boxed', key };
    const { gitlab } = rig.ledger;
    const hosted = { ...gitlab, mode: 'hosted' as const, host: who(2).id, epoch: 1, hosted: hostedGitlab({ https }) };
    rig.ledger = { ...rig.ledger, gitlab: hosted };
    await rig.live(2, 0);
    const sealed = rig.ledger.gitlab.hosted?.https?.key ?? '';
    expect(recipientsOf(sealed).sort()).toEqual([who(0).id, who(1).id, who(2).id].sort());
    expect([rig.opens(1, sealed), rig.opens(2, sealed)]).toEqual(['00ff', '00ff']);
  });
  it('stays as it was while a voter is of an older version, which may lead at any moment, and goes back for one', async () => {
    const rig = new SecretsRig(mesh([1]));
    await rig.live(5, 0);
    expect(isEnvelopes(rig.ledger.gitlab.token ?? '')).toBe(false);
    expect(rig.box(0).sealForVoters('x').startsWith('v2.')).toBe(false);
    const mended = new SecretsRig(mesh());
    await mended.live(1, 0);
    const { can: _, ...older } = mended.ledger.nodes[who(1).id]!;
    mended.ledger = { ...mended.ledger, nodes: { ...mended.ledger.nodes, [who(1).id]: older } };
    await mended.live(1, 0);
    expect(unseal(meshKey, mended.ledger.gitlab.token ?? '')).toBe('glpat-old');
  });
});

/** At so many ms of the leader's clock. */
function applied(ledger: Ledger, change: Change, wallMs: number): Ledger {
  const after = applyChange(ledger, change, wallMs);
  if ('refused' in after) throw new Error(String(after.refused));
  return after;
}

describe('what a removed machine knew and only a person can change', () => {
  it('is said until it was named anew: where notices go, the key of the backups, that of the certificate', () => {
    const rig = new SecretsRig(mesh());
    const secret = sealFor([who(0).id], 'secret');
    const told = { kind: 'ntfy', secret, shown: 'ntfy.lan', since: 0, because: '' };
    const keep = { daily: 7, weekly: 4, monthly: 6 };
    const vault = { target: '/mnt/disk', repository: '7f0e2902889beb10', secret, everyMs: 86_400_000, keep };
    const https = { mark: '0123456789abcdef', box: 'boxed', key: secret };
    const hosted = { ...hostedGitlab({ https }), since: 0 };
    const targets = { phone: told, log: { ...told, kind: 'log' } };
    const { gitlab } = rig.ledger;
    rig.ledger = {
      ...rig.ledger,
      notices: { targets },
      gitlab: {
        ...gitlab,
        mode: 'hosted',
        host: who(0).id,
        epoch: 1,
        hosted,
        vault: { ...vault, since: 0, because: '' },
      },
    };
    const none = { notices: [], backups: null, certificate: false };
    expect(knownToRemoved(rig.ledger)).toEqual(none);
    const { ledger: before } = rig;
    rig.ledger = applied(before, { kind: 'forget', node: 'p' }, 1000);
    expect(doneSentence({ kind: 'forget', node: 'p' }, before, rig.ledger)).toContain(
      'knows the addresses of who is told of this mesh (phone): change them',
    );
    expect(knownToRemoved(rig.ledger)).toEqual({ notices: ['phone'], backups: '/mnt/disk', certificate: true });
    rig.ledger = applied(rig.ledger, { kind: 'notice-target', name: 'phone', target: told, because: '' }, 2000);
    rig.ledger = applied(rig.ledger, { kind: 'set-vault', vault, because: '' }, 2000);
    expect(knownToRemoved(rig.ledger)).toEqual({ ...none, certificate: true });
    const another = { ...https, mark: 'fedcba9876543210' };
    rig.ledger = applied(rig.ledger, { kind: 'gitlab-certificate', data: hosted.data, https: another }, 2000);
    expect(knownToRemoved(rig.ledger)).toEqual(none);
  });
});

describe('forget changes what that machine knew', () => {
  const forgetP = (rig: SecretsRig): void => void rig.apply({ kind: 'forget', node: 'p' });

  it("the mesh key, GitLab's token, runner tokens, open invites: with all it had, the removed machine opens nothing new", async () => {
    const rig = new SecretsRig(mesh());
    await rig.live(1, 0);
    rig.apply({ kind: 'make-invite', invite: 'i', code: rig.box(0).seal('c'), expiresAt: 9, by: who(0).id });
    forgetP(rig);
    expect(secretsDue(rig.ledger)).toEqual({ key: true, token: true, classes: ['gpu'], blockedBy: [] });
    await rig.live(8, 0, 1);
    expect(secretsDue(rig.ledger)).toEqual({ key: false, token: false, classes: [], blockedBy: [] });
    expect(rig.gitlab.calls).toEqual(['second', 'revoke', 'runner']);
    expect([rig.lives('glpat-old'), rig.ledger.gitlab.over]).toEqual([false, undefined]);
    expect(rig.ledger.invites).toEqual({});
    for (const index of [0, 1]) {
      expect(rig.opens(index, rig.ledger.gitlab.token)).toBe(rig.gitlab.admin);
      expect(rig.opens(index, rig.ledger.classes.gpu?.token ?? '')).toBe(rig.gitlab.runner);
      expect(rig.box(index).meshKey).not.toBe(meshKey);
    }
    const said = rig.box(0).seal('new');
    for (const sealed of [said, rig.ledger.gitlab.token, rig.ledger.classes.gpu?.token ?? '']) {
      expect(rig.opens(2, sealed)).toBeNull();
      expect(() => unseal(meshKey, sealed ?? '')).toThrow();
    }
    // What was sealed before still opens: jobs that run have tokens of then.
    expect(rig.opens(1, seal(meshKey, 'job token'))).toBe('job token');
  });
  it('who comes in later gets the key of today handed over, and an envelope for the next start', async () => {
    const rig = new SecretsRig(mesh());
    forgetP(rig);
    await rig.live(8, 0);
    const key = rig.box(0).meshKey;
    const newcomer = who(3);
    rig.ledger = {
      ...rig.ledger,
      nodes: { ...rig.ledger.nodes, [newcomer.id]: { ...rig.ledger.nodes[who(0).id]!, name: 'n' } },
    };
    const handed = new SecretBox({ self: newcomer.id, seed: newcomer.seed, meshKey: key, ledger: () => rig.ledger });
    expect(handed.meshKey).toBe(key);
    await rig.live(1, 0);
    const started = new SecretBox({
      self: newcomer.id,
      seed: newcomer.seed,
      meshKey: 'ab'.repeat(32),
      ledger: () => rig.ledger,
    });
    expect(started.meshKey).toBe(key);
  });
  it('waits with the key, and with nothing else, for machines of an older version, and says which', async () => {
    const rig = new SecretsRig(mesh());
    const { can: _, ...older } = rig.ledger.nodes[who(1).id]!;
    forgetP(rig);
    rig.ledger = { ...rig.ledger, nodes: { ...rig.ledger.nodes, [who(1).id]: older } };
    await rig.live(5, 0);
    expect(secretsDue(rig.ledger)).toEqual({ key: true, token: false, classes: [], blockedBy: [who(1).id] });
  });
  it('what GitLab gave is not lost when the mesh does not answer, or this agent ends, in between', async () => {
    const rig = new SecretsRig(mesh());
    rig.seconds.refused = true;
    forgetP(rig);
    await rig.live(2, 0);
    expect([secretsDue(rig.ledger).key, rig.gitlab.calls]).toEqual([false, []]);
    rig.answers = false;
    await rig.live(1, 0);
    expect(rig.gitlab.calls).toEqual(['admin']);
    expect([...rig.facts.values()].join()).not.toContain('glpat');
    rig.answers = true;
    rig.leader = -1;
    // Another process, it does not even lead any more, and meanwhile another voter sealed the old token anew.
    const was = rig.ledger.gitlab.token ?? '';
    rig.apply({ kind: 'reseal', token: { was, now: rig.box(1).sealForVoters('glpat-old'), epoch: null } });
    await rig.live(1, 0);
    expect(rig.opens(1, rig.ledger.gitlab.token)).toBe('glpat-old+');
    expect(secretsDue(rig.ledger).token).toBe(false);
  });
  it('a second token that the mesh has not heard of waits until its machine leads again: the old one is in force', async () => {
    const rig = new SecretsRig(mesh());
    forgetP(rig);
    await rig.live(2, 0);
    rig.answers = false;
    await rig.live(1, 0);
    expect(rig.gitlab.calls).toEqual(['second']);
    expect([...rig.facts.values()].join()).not.toContain('glpat');
    rig.answers = true;
    rig.leader = -1;
    await rig.live(3, 0);
    expect([rig.opens(0, rig.ledger.gitlab.token), secretsDue(rig.ledger).token]).toEqual(['glpat-old', true]);
    rig.leader = 0;
    // Another process.
    await rig.live(2, 0);
    // The removed machine knows the one of before until that has ended, which is for who leads next.
    expect([rig.opens(1, rig.ledger.gitlab.token), secretsDue(rig.ledger).token]).toEqual(['glpat-old+', true]);
    rig.leader = 1;
    await rig.live(3, 1);
    expect([secretsDue(rig.ledger).token, rig.lives('glpat-old')]).toEqual([false, false]);
  });
  it("GitLab's answer with the next token is lost: the mesh still has one that opens it, and asks again five minutes later", async () => {
    const rig = new SecretsRig(mesh());
    rig.seconds.lost = 2;
    await rig.live(1, 0);
    forgetP(rig);
    const keeper = rig.keeper(0);
    for (let half = 0; half < 24; half++) {
      rig.now += 30_000;
      await keeper.look();
      expect(rig.lives(rig.opens(0, rig.ledger.gitlab.token) ?? ''), `after ${half * 30} s`).toBe(true);
    }
    for (let look = 0; look < 6; look++) await keeper.look();
    expect([rig.tries, rig.lives('glpat-old'), secretsDue(rig.ledger).token]).toEqual([4, false, false]);
  });
  it('the token of before is sealed for those who vote by now, ended once, and said to be known as long as GitLab refuses to end it', async () => {
    const rig = new SecretsRig(mesh());
    await rig.live(1, 0);
    forgetP(rig);
    const keeper = rig.keeper(0);
    while (rig.ledger.gitlab.over === undefined) await keeper.look();
    rig.gitlab.fails = true;
    for (let look = 0; look < 5; look++) {
      rig.now += 31_000;
      await keeper.look();
    }
    expect([rig.tries, secretsDue(rig.ledger).token]).toEqual([1, true]);
    const newcomer = { ...rig.ledger.nodes[who(0).id]!, name: 'n' };
    const voters = { ...rig.ledger.configuration.voters, [who(3).id]: { store: 's', weight: 2 } };
    rig.ledger = {
      ...rig.ledger,
      nodes: { ...rig.ledger.nodes, [who(3).id]: newcomer },
      configuration: { voters, next: null },
    };
    rig.gitlab.fails = false;
    rig.now += 31_000;
    await rig.live(1, 0);
    expect(rig.opens(3, rig.ledger.gitlab.over?.token ?? null)).toBe('glpat-old');
    rig.leader = 3;
    await rig.live(3, 3);
    expect([rig.gitlab.calls.filter((call) => call === 'revoke'), rig.lives('glpat-old')]).toEqual([['revoke'], false]);
    expect([secretsDue(rig.ledger).token, rig.ledger.gitlab.over]).toEqual([false, undefined]);
  });
  it('another GitLab is not told of the token of before; the same one is, however it was connected anew', async () => {
    for (const [url, ended] of [
      ['http://other', []],
      ['http://gl', ['revoke']],
    ] as const) {
      const rig = new SecretsRig(mesh());
      forgetP(rig);
      const keeper = rig.keeper(0);
      while (rig.ledger.gitlab.over === undefined) await keeper.look();
      const token = rig.box(0).sealForVoters('glpat-new');
      rig.apply({ kind: 'connect-gitlab', url, token, instance: null, runnerTokens: [] });
      await rig.live(4, 0);
      expect([url, rig.gitlab.calls.filter((call) => call === 'revoke')]).toEqual([url, ended]);
    }
  });
  it('reads its disk once, and what it keeps there from then on without it', async () => {
    const rig = new SecretsRig(mesh());
    await rig.live(5, 0);
    expect(rig.reads).toBe(1);
  });
  it('a refusal of GitLab is not repeated every second, and a person who connects anew ends it', async () => {
    const rig = new SecretsRig(mesh());
    forgetP(rig);
    rig.gitlab.fails = true;
    await rig.live(20, 0);
    expect(secretsDue(rig.ledger)).toMatchObject({ key: false, token: true });
    const token = rig.box(0).sealForVoters('glpat-new');
    rig.apply({ kind: 'connect-gitlab', url: 'http://gl', token, instance: null, runnerTokens: [] });
    expect(secretsDue(rig.ledger)).toMatchObject({ token: false, classes: ['gpu'] });
    rig.gitlab.fails = false;
    await rig.live(40, 0);
    expect(secretsDue(rig.ledger).classes).toEqual([]);
  });
  it('a machine that a leader of an older version removed is counted by the next leader of this one, once', () => {
    const counted = (ledger: Ledger): Ledger =>
      editsForRemovals(ledger).reduce((now, edit) => edit.apply(now) as Ledger, ledger);
    const { [who(2).id]: _, ...nodes } = mesh().nodes;
    const byOlder = { ...mesh(), nodes, forgotten: { [who(2).id]: 5 } };
    const after = counted(byOlder);
    expect(secretsDue(after)).toMatchObject({ key: true, token: true, classes: ['gpu'] });
    expect(editsForRemovals(after)).toEqual([]);
    // Removed here: counted at once. Let in and removed by an older leader again: a removal of its own.
    const here = applyChange(mesh(), { kind: 'forget', node: who(2).id }, 7) as Ledger;
    expect([here.secrets?.wanted, editsForRemovals(here)]).toEqual([1, []]);
    expect(counted({ ...here, forgotten: { [who(2).id]: 9 } }).secrets?.wanted).toBe(2);
    // Of this version before removals were noted one by one: those until now were counted, and a later one is one more.
    const { counted: _counted, ...secrets } = here.secrets!;
    const noted = counted({ ...here, secrets });
    expect([noted.secrets, editsForRemovals(noted)]).toEqual([here.secrets, []]);
    expect(counted({ ...noted, forgotten: { ...noted.forgotten, [who(1).id]: 9 } }).secrets?.wanted).toBe(2);
    expect(editsForRemovals(mesh())).toEqual([]);
  });

  it('a key that was asked for before another removal is not taken: the second machine may have it', async () => {
    const rig = new SecretsRig(mesh());
    forgetP(rig);
    const key = { epoch: 1, sealed: { [who(1).id]: 'x' } };
    rig.apply({ kind: 'forget', node: 'b' });
    rig.apply({ kind: 'reseal', key });
    expect(rig.ledger.secrets?.keys).toEqual([]);
  });
});
