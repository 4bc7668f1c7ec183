import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RegainRoom } from '../../node/agent/regain-room.ts';
import { placeFacts } from '../../node/hosting/deploy-facts.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { checkMarker, claimPath, markedEpoch, markerFile } from '../../node/hosting/place-records.ts';
import { isLeftPlace, lookAtPlace, refuseNear } from '../../node/hosting/regain/left-place.ts';
import { takePlace } from '../../node/hosting/regain/take-place.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import type { Ledger } from '../../protocol/ledger.ts';

/** GitLab's data of a mesh that is gone, in a plain folder: what needs no btrfs. Images and copies are in root/regain.test.ts. */
const old = { mesh: 'mesh-of-before', data: 'data-1', epoch: 7 };
const mine = { mesh: 'mesh-of-now', era: 0 };
let folder: string;
let path: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 't-left-'));
  path = join(folder, 'gitlab');
  await openPlace({ kind: 'folder', path }, { ...old, create: { bytes: 0, reserveBytes: 0 } });
  for (const sub of ['live/data/postgresql/data/global', 'live/data/gitlab-rails'])
    mkdirSync(join(path, sub), { recursive: true });
  writeFileSync(join(path, 'live/data/postgresql/data/PG_VERSION'), '15');
  writeFileSync(join(path, 'live/data/postgresql/data/global/pg_control'), '');
  writeFileSync(join(path, 'live/data/gitlab-rails/VERSION'), '19.4.1');
  writeFileSync(join(path, 'live/config/gitlab-secrets.json'), '{}');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a file in the place of the folder is called one, by whoever is to look there, and so is what would lie below it', async () => {
  const file = join(folder, 'backup.tar');
  writeFileSync(file, '');
  const words = `${file} is a file, and GitLab's data lie in a folder`;
  for (const named of [file, join(file, 'gitlab')]) {
    await expect(lookAtPlace(named, mine.mesh)).rejects.toThrow(words);
    expect(() => refuseNear(named)).toThrow(words);
    expect(placeFacts(named, mine.mesh)).toEqual({ problem: words, fix: 'name the folder: --data DIR' });
  }
});

const marker = (): unknown => JSON.parse(readFileSync(join(path, 'live/data', markerFile), 'utf8'));
const claim = () => JSON.parse(readFileSync(claimPath(path), 'utf8'));
const claimed = (over: object) => writeFileSync(claimPath(path), JSON.stringify({ ...claim(), ...over }));
const look = () => lookAtPlace(path, mine.mesh);

describe("a place of a mesh's that is gone", () => {
  it('says whose it is, of which version and epoch, and when GitLab last wrote; nothing is changed by it', async () => {
    const before = [marker(), claim()];
    expect(await look()).toMatchObject({
      ...{
        path,
        kind: 'folder',
        mesh: old.mesh,
        data: old.data,
        what: 'host',
        epoch: 7,
        round: null,
        version: '19.4.1',
      },
      at: expect.closeTo(Date.now(), -5),
    });
    expect([marker(), claim()]).toEqual(before);
    // One that was replaced by a restore has a higher epoch than nobody may use again.
    mkdirSync(join(path, 'replaced-12/live'), { recursive: true });
    mkdirSync(join(path, 'replaced-12/bulk'));
    expect((await look()).epoch).toBe(12);
  });

  it("becomes this mesh's, and a deployment in a later epoch takes it up; an earlier one does not", async () => {
    await takePlace(await look(), mine);
    expect([marker(), claim()]).toMatchObject([
      { mesh: mine.mesh, data: old.data, epoch: 7 },
      { mesh: mine.mesh, state: 'made' },
    ]);
    const create = { bytes: 0, reserveBytes: 0 };
    const owner = { mesh: mine.mesh, data: old.data };
    await expect(openPlace({ kind: 'folder', path }, { ...owner, epoch: 1, create })).rejects.toThrow(
      'they are not the newest',
    );
    await openPlace({ kind: 'folder', path }, { ...owner, epoch: 8, create });
    expect(marker()).toEqual({ ...owner, epoch: 8 });
  });

  it.each(['write', 'rename', 'run', 'syncFolder'] as const)(
    'cut before any %s, it is taken by the next try',
    async (call) => {
      for (let cutAt = 1, isCut = true; isCut; cutAt++) {
        let [calls, wasCut] = [0, false];
        const tools = {
          ...systemTools,
          [call]: async (...args: [never, never]) => {
            if (++calls !== cutAt) return systemTools[call](...args);
            wasCut = true;
            throw new Error('its power was cut');
          },
        };
        await takePlace(await look(), mine, tools).catch(() => undefined);
        const left = await look();
        expect(left).toMatchObject({ what: 'host', epoch: 7 });
        await takePlace(left, mine);
        expect([marker(), claim()]).toMatchObject([{ mesh: mine.mesh }, { mesh: mine.mesh }]);
        // As it was, for the next cut.
        writeFileSync(join(path, 'live/data', markerFile), JSON.stringify(old));
        claimed({ mesh: old.mesh });
        isCut = wasCut;
      }
    },
  );

  it('what is no such place, or not whole, is refused with a sentence each', async () => {
    const refused = async (why: RegExp) => expect(look()).rejects.toThrow(why);
    expect([isLeftPlace(path), isLeftPlace(folder), isLeftPlace(join(folder, 'none'))]).toEqual([true, false, false]);
    await expect(lookAtPlace(join(folder, 'none'), mine.mesh)).rejects.toThrow('holds nothing');
    await expect(lookAtPlace(folder, mine.mesh)).rejects.toMatchObject({
      message: `${folder} has places of GitLab in it`,
      hint: `name one of them: --data ${path}`,
    });
    claimed({ state: 'making' });
    await refused(/was never made to its end/);
    claimed({ state: 'removing' });
    await refused(/is being deleted, as a person said/);
    claimed({ state: 'made', data: 'data-2' });
    await refused(/carries the marker of another GitLab \(data-1\) than its place \(data-2\)/);
    claimed({ data: old.data });
    writeFileSync(join(path, 'live/data', markerFile), '{"mesh":');
    await refused(/carries no marker of a mesh, or a damaged one/);
    rmSync(join(path, 'live/data', markerFile));
    writeFileSync(join(folder, 'elsewhere'), JSON.stringify(old));
    symlinkSync(join(folder, 'elsewhere'), join(path, 'live/data', markerFile));
    await refused(/carries no marker of a mesh/);
    rmSync(join(path, 'live/data', markerFile));
    writeFileSync(join(path, 'live/data', markerFile), JSON.stringify(old));
    renameSync(join(path, 'live/config/gitlab-secrets.json'), join(folder, 'kept'));
    await refused(/is half of a GitLab: config\/gitlab-secrets.json is not in it/);
    renameSync(join(path, 'live'), join(folder, 'live'));
    await refused(/holds copies, and no whole round/);
    writeFileSync(claimPath(path), '{"mesh": "m"}');
    await refused(/autogit-place.json is damaged: what lies there is not known/);
    expect(existsSync(join(folder, 'live/data'))).toBe(true);
  });

  it('the folder around places, or one in a place, is answered with the one that was meant; any other is a matter of containers', async () => {
    const ledger = () => ({ mesh: { id: mine.mesh }, era: { counter: 0 } }) as unknown as Ledger;
    const room = new RegainRoom({ home: folder, dockerHost: null, ledger, network: { addresses: () => ['10.0.0.1'] } });
    const wish = { preset: 'minimal' as const, port: 8080, sshPort: null, hostname: null, image: null };
    const answer = (data: string) => room.answer({ kind: 'check-left', wish: { ...wish, data } });
    const [around, inside] = [await answer(folder), await answer(join(path, 'live/data'))];
    expect(around).toMatchObject({
      isPlace: true,
      checks: [{ state: 'fail', fix: `name one of them: --data ${path}` }],
    });
    expect(inside).toMatchObject({ isPlace: true, checks: [{ state: 'fail', fix: `name that: --data ${path}` }] });
    writeFileSync(join(folder, 'file'), '');
    mkdirSync(join(folder, 'empty'));
    symlinkSync(join(folder, 'loop'), join(folder, 'loop'));
    expect(await answer(join(folder, 'loop'))).toMatchObject({
      checks: [{ sentence: expect.stringContaining('ELOOP') }],
    });
    const other = mkdtempSync(join(tmpdir(), 't-other-'));
    expect(await answer(join(folder, 'file'))).toMatchObject({
      checks: [{ state: 'fail', sentence: expect.stringContaining('is a file'), fix: 'name the folder: --data DIR' }],
    });
    for (const data of [other, join(other, 'none'), join(folder, 'empty')])
      expect(await answer(data), data).toMatchObject({ isPlace: false, checks: [] });
    rmSync(other, { recursive: true });
  });

  it('neither a link nor a pipe nor a huge file is read in the place of one of ours: an agent that waits at a pipe is a dead one', async () => {
    const swap = async (file: string, make: (aside: string) => void, why: RegExp): Promise<void> => {
      const aside = join(folder, 'aside');
      renameSync(file, aside);
      make(aside);
      await expect(look()).rejects.toThrow(why);
      rmSync(file);
      renameSync(aside, file);
    };
    for (const [file, why] of [
      [claimPath(path), /autogit-place.json is no plain file: no mesh made that/],
      [join(path, 'live/data', markerFile), /carries no marker of a mesh, or a damaged one/],
    ] as const) {
      await swap(file, (aside) => symlinkSync(aside, file), why);
      await swap(file, (aside) => writeFileSync(file, `${readFileSync(aside)}${' '.repeat(2 << 20)}`), why);
      await swap(file, () => execFileSync('mkfifo', [file]), why);
    }
    expect(await look()).toMatchObject({ epoch: 7, version: '19.4.1' });
    const version = join(path, 'live/data/gitlab-rails/VERSION');
    rmSync(version);
    execFileSync('mkfifo', [version]);
    expect(await look()).toMatchObject({ epoch: 7, version: null });
    // Nor what says of a round, or of data that a restore replaced, what they are.
    for (const part of ['live', 'bulk']) mkdirSync(join(path, `replaced-3/${part}`), { recursive: true });
    mkdirSync(join(path, 'copies/hot/rounds/0-9-1/hot'), { recursive: true });
    mkdirSync(join(path, 'copies/hot/markers'));
    execFileSync('mkfifo', [join(path, 'replaced-3/autogit-backup.json'), join(path, 'copies/hot/markers/0-9-1.json')]);
    expect(await look()).toMatchObject({ epoch: 7, image: null, round: null });
    // Before each start, and in the container after it.
    const data = join(path, 'live/data');
    rmSync(join(data, markerFile));
    execFileSync('mkfifo', [join(data, markerFile)]);
    expect(() => checkMarker(data, old, data)).toThrow(/the marker in .* is no plain file/);
    expect(markedEpoch(data, old)).toBe(null);
  });

  it('no folder of it may be a link: what is deleted or taken up there would be elsewhere', async () => {
    mkdirSync(join(path, 'copies/hot/rounds'), { recursive: true });
    mkdirSync(join(folder, 'elsewhere'));
    for (const name of ['logs', 'brought', 'copies/bulk', 'copies/hot/rounds/0-9-1', 'copies/hot/markers']) {
      const at = join(path, name);
      rmSync(at, { recursive: true, force: true });
      symlinkSync(join(folder, 'elsewhere'), at);
      await expect(look(), name).rejects.toMatchObject({
        message: `${at} is a link: no mesh made that`,
        hint: `look where it leads: ls -la ${at}`,
      });
      rmSync(at);
    }
    await look();
  });

  it('one that is another by now than it was when it was looked at is left alone', async () => {
    const left = await look();
    claimed({ data: 'data-2' });
    await expect(takePlace(left, mine)).rejects.toThrow('is not what it was when it was looked at');
    expect(claim().mesh).toBe(old.mesh);
  });
});
