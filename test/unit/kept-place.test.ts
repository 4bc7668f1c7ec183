import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeptPlace } from '../../node/hosting/kept-place.ts';
import { markedEpoch } from '../../node/hosting/place-records.ts';
import { type SystemTools, systemTools } from '../../node/hosting/system-tools.ts';

let tree: string;
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 't-kept-place-'));
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

const owner = { mesh: 'm', data: 'd' };
const base = { era: 0, epoch: 1, number: 7 };

/** A GitLab's data of epoch 1. */
function gitlab(at: string, row: string): void {
  for (const folder of ['config', 'data/postgresql/data']) mkdirSync(join(at, folder), { recursive: true });
  writeFileSync(join(at, 'config/gitlab-secrets.json'), '{}');
  writeFileSync(join(at, 'data/postgresql/data/PG_VERSION'), '16');
  writeFileSync(join(at, 'data/autogit-data.json'), JSON.stringify({ ...owner, epoch: 1 }));
  writeFileSync(join(at, 'data/row'), row);
}

function round(): void {
  for (const part of ['hot', 'bulk']) {
    const note = { form: 1, name: '0-1-7', part, wallMs: 1, parent: null, uuid: 'u', owner };
    mkdirSync(join(tree, `copies/${part}/markers`), { recursive: true });
    mkdirSync(join(tree, `copies/${part}/rounds/0-1-7/${part}`), { recursive: true });
    writeFileSync(join(tree, `copies/${part}/markers/0-1-7.json`), JSON.stringify(note));
  }
  gitlab(join(tree, 'copies/hot/rounds/0-1-7/hot'), 'of the round');
}

/** What btrfs does, with plain folders; `fails`: a rename of that folder finds no room, once. */
function toolsThat(fails: string): SystemTools {
  let isFull = true;
  return {
    ...systemTools,
    run: async (file, [what, how, ...rest]) => {
      if (file !== 'btrfs' || what !== 'subvolume') return '';
      if (how === 'create') mkdirSync(rest[0]!);
      if (how === 'snapshot') cpSync(rest[0]!, rest[1]!, { recursive: true });
      if (how === 'delete') for (const path of rest.slice(1)) rmSync(path, { recursive: true });
      return '';
    },
    rename: async (from, to) => {
      if (isFull && from.endsWith(fails)) {
        isFull = false;
        throw Object.assign(new Error(`ENOSPC: no space left on device, rename '${from}'`), { code: 'ENOSPC' });
      }
      await systemTools.rename(from, to);
    },
  };
}

it.each(['clone/live', 'clone/bulk'])(
  'what was booted beforehand and cannot be taken whole (%s) keeps GitLab from nothing: its data are made of the round',
  async (fails) => {
    round();
    gitlab(join(tree, 'clone/live'), 'booted');
    mkdirSync(join(tree, 'clone/bulk'));
    const said: string[] = [];
    let isThere = true;
    const kept = new KeptPlace({
      hosting: {
        ...owner,
        epoch: 2,
        copies: { bases: { '2': base } },
        place: { kind: 'subvolume', path: tree },
      } as never,
      mesh: owner.mesh,
      isNew: () => false,
      say: () => undefined,
      memory: { hasNeverWorked: () => true, write: () => undefined } as never,
      options: {
        log: { info: () => undefined, warn: (text: string) => void said.push(text) },
        tools: toolsThat(fails),
        openPlace: async () => ({
          ...{ kind: 'subvolume', path: tree, notices: [], tend: async () => [], check: async () => undefined },
        }),
        beside: {
          ready: () => (isThere ? { id: 'c', folder: join(tree, 'clone') } : null),
          none: async () => {
            isThere = false;
            rmSync(join(tree, 'clone'), { recursive: true, force: true });
          },
        },
      } as never,
    });
    await kept.opened(true);
    expect(readFileSync(join(tree, 'live/data/row'), 'utf8')).toBe('of the round');
    expect(markedEpoch(join(tree, 'live/data'), owner)).toBe(2);
    expect(existsSync(join(tree, 'based'))).toBe(false);
    expect(isThere).toBe(false);
    expect(said.join('\n')).toContain('what was booted beforehand is not taken in: ENOSPC');
  },
);
