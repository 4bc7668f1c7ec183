import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { areOf, fencedNames, giveUpLiving, makeOfBase } from '../../node/hosting/move/living-data.ts';
import { markedEpoch } from '../../node/hosting/place-records.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { cutAfter, MiB, PlaceRig, refusal, sh } from './data-place-rig.ts';
import { brought, type Side, sideOf, taken } from './round-sides.ts';
import { owner, written } from './vault-rig.ts';

const rig = new PlaceRig();
const next = { ...owner, epoch: 4 };
const base: RoundName = { era: 1, epoch: 3, number: 7 };
const roomy = { bytes: 320 * MiB, reserveBytes: 0 };

const image = (name: string) => ({ kind: 'image' as const, path: join(rig.folder, name) });
const standing = async (name: string, epoch = 3): Promise<DataPlace> =>
  rig.opened(image(name), { ...owner, epoch, create: roomy, role: 'standby' });
const hosting = async (name: string, epoch: number): Promise<DataPlace> =>
  rig.opened(image(name), { ...owner, epoch, create: null, isUnchecked: true });
const text = (tree: string, path: string): string => readFileSync(join(tree, path), 'utf8');

/** A host of epoch 3 and a machine that holds round 1-3-7 of it. */
async function pair(): Promise<{ kang: DataPlace; a: Side; desktop: DataPlace; b: Side }> {
  const { place: kang } = await written(rig);
  const a = await sideOf(kang);
  const desktop = await standing('copies');
  const b = await sideOf(desktop);
  await brought(a, b, await taken(a, base));
  return { kang, a, desktop, b };
}

describe("GitLab's data where its host changes (SAFETY H10)", () => {
  it('are made of the base, whatever step the power goes at, by whoever comes next; what lay there stays as it was', {
    timeout: 90_000,
  }, async () => {
    const { desktop } = await pair();
    await desktop.close();
    for (let steps = 0; ; steps++) {
      let place = await hosting('copies', 4);
      const tree = treeOf(place);
      // What this machine served in an epoch before, and was never told to give up.
      if (steps % 3 !== 0)
        sh(`cd ${tree}; btrfs subvolume snapshot copies/hot/rounds/1-3-7/hot live; btrfs subvolume create bulk
          echo of-before > live/data/row; echo of-before > bulk/row; sed -i s/3}/2}/ live/data/autogit-data.json`);
      const what = { place, owner: next, base };
      const isCut = await makeOfBase(what, cutAfter(steps)).then(
        () => false,
        (error: Error) => {
          expect(String(error)).toContain('the power went');
          return true;
        },
      );
      await place.close();
      place = await hosting('copies', 4);
      if (isCut) await makeOfBase({ ...what, place }, systemTools);
      expect([steps, areOf(place, next), existsSync(join(tree, 'based'))]).toEqual([steps, true, false]);
      await place.check();
      expect(text(tree, 'live/data/git-data/repositories/a.git/HEAD')).toBe('ref: refs/heads/then');
      expect(text(tree, 'bulk/artifact')).toBe('artifact of then');
      const left = ['live/data/postgresql/data/postmaster.pid', 'live/data/git-data/repositories/a.git/config.lock'];
      expect(left.filter((path) => existsSync(join(tree, path)))).toEqual([]);
      expect(sh(`btrfs subvolume get-default ${tree}`)).toMatch(/path live$/m);
      expect([steps, fencedNames(tree)]).toEqual([steps, steps % 3 === 0 ? [] : ['fenced-2']]);
      if (steps % 3 !== 0)
        expect([text(tree, 'fenced-2/live/data/row'), text(tree, 'fenced-2/bulk/row')]).toEqual([
          ...['of-before\n', 'of-before\n'],
        ]);
      await place.close();
      if (!isCut) break;
      expect(steps).toBeLessThan(30);
      // As it was: a machine with copies and nothing else.
      const again = await standing('copies', 5);
      await giveUpLiving(
        { place: again, owner: { ...owner, epoch: 5 }, ledger: null, bases: {}, unserved: 4 },
        systemTools,
      );
      expect(['live', 'bulk'].filter((name) => existsSync(join(tree, name)))).toEqual([]);
      if (existsSync(join(tree, 'fenced-2'))) sh(`btrfs subvolume delete ${tree}/fenced-2/*; rmdir ${tree}/fenced-2`);
      await again.close();
    }
  });

  it('are given up at whatever step the power goes: kept whole where they may be more, gone where the base is all of them', {
    timeout: 60_000,
  }, async () => {
    const { kang, a } = await pair();
    const was = ['live', 'bulk'].map((part) => `btrfs subvolume snapshot ${a.tree}/${part} ${a.tree}/was-${part}`);
    sh(was.join(' && '));
    for (const isMore of [true, false])
      for (let steps = 0; ; steps++) {
        if (isMore) writeFileSync(join(a.tree, 'live/data/row'), 'nowhere else');
        const given = { place: kang, owner: next, ledger: null, bases: { 4: base }, unserved: null };
        const isCut = await giveUpLiving(given, cutAfter(steps)).then(
          () => false,
          () => true,
        );
        await giveUpLiving(given, systemTools);
        const left = readdirSync(a.tree).filter((name) => ['live', 'bulk', 'based'].includes(name));
        expect([steps, left, fencedNames(a.tree)]).toEqual([steps, [], isMore ? ['fenced-3'] : []]);
        if (isMore)
          expect([text(a.tree, 'fenced-3/live/data/row'), text(a.tree, 'fenced-3/bulk/artifact')]).toEqual([
            ...['nowhere else', 'artifact of then'],
          ]);
        if (isMore) sh(`btrfs subvolume delete ${a.tree}/fenced-3/*; rmdir ${a.tree}/fenced-3`);
        // As they were, and a base that was taken of just these.
        for (const part of ['live', 'bulk']) sh(`btrfs subvolume snapshot ${a.tree}/was-${part} ${a.tree}/${part}`);
        for (const part of [a.hot, a.bulk]) await part.remove(part.rounds());
        const again = await sideOf(kang);
        Object.assign(a, again);
        await taken(a, base);
        if (!isCut) break;
        expect(steps).toBeLessThan(30);
      }
  });

  it('refuse a base that is missing, of another epoch, half, or has a link in the place of a folder; nothing that lay there goes', async () => {
    const { desktop, b } = await pair();
    await desktop.close();
    const place = await hosting('copies', 4);
    const making = (of: RoundName) => makeOfBase({ place, owner: next, base: of }, systemTools);
    await expect(making({ ...base, number: 8 })).rejects.toMatchObject(
      refusal(/round 1-3-8, with which epoch 4 begins, is not on this machine/, /bring back the disk that has it/),
    );
    await expect(makeOfBase({ place, owner: { ...next, data: 'other' }, base }, systemTools)).rejects.toMatchObject(
      refusal(/round 1-3-7 holds no marker of ours/, /nothing is started on it/),
    );
    const round = join(b.tree, 'copies/hot/rounds/1-3-7/hot');
    const spoiled = async (how: string): Promise<void> => {
      sh(`btrfs property set -f ${round} ro false; cd ${round}; ${how}; btrfs property set ${round} ro true`);
    };
    await spoiled('rm config/gitlab-secrets.json');
    await expect(making(base)).rejects.toMatchObject(
      refusal(/half of a GitLab: config\/gitlab-secrets.json/, /ls -la/),
    );
    await spoiled('mv config was; ln -s /etc config');
    await expect(making(base)).rejects.toMatchObject(refusal(/half of a GitLab: .*config is no folder/, /ls -la/));
    expect(['live', 'bulk', 'based'].filter((name) => existsSync(join(b.tree, name)))).toEqual([]);
    // Nor is it taken for data that a GitLab left.
    await expect(place.check()).rejects.toMatchObject(
      refusal(/copies of GitLab, and not the data/, /gitlab deploy --on/),
    );
  });

  it('that are later than the ledger are left as they are: it is of before them, and they may be the newest that there are', async () => {
    const { place } = await written(rig);
    const early = { place, owner: { ...owner, epoch: 2 } };
    const said = refusal(
      /holds GitLab's data of epoch 3, which are later than the mesh knows \(2\)/,
      /gitlab deploy --data/,
    );
    await expect(
      giveUpLiving({ ...early, ledger: null, bases: {}, unserved: null }, systemTools),
    ).rejects.toMatchObject(said);
    await expect(makeOfBase({ ...early, base: { ...base, epoch: 1 } }, systemTools)).rejects.toMatchObject(said);
    await place.check();
  });

  it('that were served beside, on a side of a recovery by force with which the mesh does not go on, are kept out of the way', async () => {
    const { place, tree } = await written(rig);
    const recovery = { epoch: 2, side: 1, unseen: [] };
    const gitlab = { host: 'K', epoch: 2, hosted: {} };
    const ledger = { era: { counter: 1 }, nodes: {}, recovery, gitlab } as unknown as Ledger;
    const given = { place, owner: { ...owner, epoch: 2 }, ledger, bases: {}, unserved: null };
    await giveUpLiving(given, systemTools);
    expect([fencedNames(tree), existsSync(join(tree, 'live'))]).toEqual([['fenced-3'], false]);
    expect(existsSync(join(tree, 'fenced-3/live/data/postgresql'))).toBe(true);
    // Twice it is so.
    await giveUpLiving(given, systemTools);
    expect(fencedNames(tree)).toEqual(['fenced-3']);
  });

  it('are not begun on a full disk, and made as soon as there is room', async () => {
    const { desktop, b } = await pair();
    sh(`dd if=/dev/zero of=${b.tree}/filler bs=1M 2>/dev/null || sync -f ${b.tree}`);
    await desktop.close();
    const place = await hosting('copies', 4);
    const what = { place, owner: next, base };
    const tried = makeOfBase(what, systemTools).then(() => place.check());
    await expect(tried).rejects.toMatchObject({ code: 'data-place', hint: expect.stringContaining('make room') });
    expect(text(b.tree, 'copies/hot/rounds/1-3-7/hot/data/postgresql/data/PG_VERSION')).toBe('15');
    sh(`rm ${b.tree}/filler; sync -f ${b.tree}`);
    await makeOfBase(what, systemTools);
    await place.check();
    expect(text(b.tree, 'bulk/artifact')).toBe('artifact of then');
  });

  it('what was written after the base is kept, what is the base is not, and rounds go on as differences, there and back', {
    timeout: 60_000,
  }, async () => {
    const { kang, a, desktop } = await pair();
    await desktop.close();
    // Unplanned: it took a push that no other machine has.
    writeFileSync(join(a.tree, 'live/data/row'), 'nowhere else');
    await kang.close();
    const newHost = await hosting('copies', 4);
    await makeOfBase({ place: newHost, owner: next, base }, systemTools);
    await newHost.check();
    expect(existsSync(join(treeOf(newHost), 'live/data/row'))).toBe(false);
    const b = await sideOf(newHost);
    writeFileSync(join(b.tree, 'live/data/row'), 'of epoch 4');
    const first = await taken(b, { era: 1, epoch: 4, number: 1 });
    const former = await standing('gitlab', 4);
    expect(sh(`findmnt -no OPTIONS ${treeOf(former)}`)).toMatch(/noexec/);
    await giveUpLiving({ place: former, owner: next, ledger: null, bases: { 4: base }, unserved: null }, systemTools);
    expect(text(treeOf(former), 'fenced-3/live/data/row')).toBe('nowhere else');
    const held = await sideOf(former);
    await brought(b, held, first, base);
    // Planned, back again: the last round is all there is.
    writeFileSync(join(b.tree, 'live/data/row'), 'last of epoch 4');
    const last = { era: 1, epoch: 4, number: 2 };
    await brought(b, held, await taken(b, last), { era: 1, epoch: 4, number: 1 });
    await former.close();
    await newHost.close();
    const back = await hosting('gitlab', 5);
    expect(sh(`findmnt -no OPTIONS ${treeOf(back)}`)).not.toMatch(/noexec/);
    const fifth = { ...owner, epoch: 5 };
    await makeOfBase({ place: back, owner: fifth, base: last }, systemTools);
    await back.check();
    expect(text(treeOf(back), 'live/data/row')).toBe('last of epoch 4');
    const given = await standing('copies', 5);
    await giveUpLiving(
      { place: given, owner: fifth, ledger: null, bases: { 4: base, 5: last }, unserved: null },
      systemTools,
    );
    expect(readdirSync(treeOf(given)).sort()).toEqual(['copies', 'logs']);
    const [host, standby] = [await sideOf(back), await sideOf(given)];
    await brought(host, standby, await taken(host, { era: 1, epoch: 5, number: 1 }), last);
    expect(markedEpoch(join(standby.tree, 'copies/hot/rounds/1-5-1/hot/data'), owner)).toBe(5);
  });
});
