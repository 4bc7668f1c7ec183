import { listed } from '../../scheduler/phrases.ts';
import { itemOf } from './seed-settings.ts';
import type { Fate, Note, Topic } from './settings-note.ts';

/** Several keys of one kind in one sentence, for `join` and `doctor`. */
interface SettingsWarning {
  readonly sentence: string;
  readonly fix: string | null;
  /** The keys that it is about, as they stand in the file. */
  readonly keys: readonly string[];
}

type Group = readonly [Note, ...Note[]];
interface Said {
  what: (notes: Group, all: readonly Note[]) => string;
  fix: (notes: Group) => string | null;
}

const unique = (texts: readonly string[]): string[] => [...new Set(texts)];
const some = (texts: readonly string[], most = 6): string =>
  texts.length <= most ? listed(texts) : `${texts.slice(0, most).join(', ')} and ${texts.length - most} more`;

const wordsOf = (key: string): string[] => key.replace(/\[\d+\]/g, '').split('.');
/** The words below the section: `hostname, external_url and ports`. */
const below = (notes: Group): string => some(unique(notes.map(({ key }) => wordsOf(key)[1] ?? key)));
const leafWords = (notes: Group): string => some(unique(notes.map(({ key }) => wordsOf(key).at(-1) ?? key)));
const items = (notes: Group): string => {
  const names = new Map(notes.map((note) => [itemOf(note.key), itemOf(note.key)]));
  for (const note of notes) if (note.key.endsWith('.name')) names.set(itemOf(note.key), note.text);
  return some([...names.values()]);
};
const texts = (notes: Group): string => some(unique(notes.map(({ text }) => text)));

/** Is one of the entries this machine's? */
const isHere = (all: readonly Note[]): boolean =>
  all.some(({ topic, fate, as }) => topic === 'machines' && fate === 'obeyed' && as !== 'peers');

const mesh: Partial<Record<Topic, Said>> = {
  machines: {
    what: (notes, all) =>
      `${isHere(all) ? '' : 'no entry has the name or an address of this machine, and '}each machine says for itself what it is and takes (${items(notes)}: ${leafWords(notes)})`,
    fix: () => 'on each of them: autogit-node join',
  },
  gpus: {
    what: () => 'each machine finds its GPUs by itself (runners: gpu)',
    fix: () => 'what is found here: autogit-node doctor',
  },
  health: {
    what: (notes) => `it looks all the time and always mends itself (health: ${below(notes)})`,
    fix: () => 'how long a silent machine keeps its jobs: autogit-node settings silentMs 10s',
  },
};
const notYet: Partial<Record<Topic, Said>> = {
  hosting: {
    what: (notes) =>
      `GitLab is deployed by a name and by a preset; for https it needs its certificate too, tlsCert and tlsKey (gitlab: ${below(notes)})`,
    fix: () => 'what it takes: autogit-node gitlab deploy --help',
  },
  mirroring: {
    what: (notes) => `this version mirrors no repositories (mirroring: ${below(notes)})`,
    fix: () => null,
  },
  notify: {
    what: (notes) =>
      `nobody is told by ${texts(notes.filter(({ key }) => key.endsWith('.type')) as unknown as Group)}: a file says it by webhook, ntfy, slack or heartbeat, with its url or url_env`,
    fix: () => 'by everything else: autogit-node notify add --help',
  },
};
const placeholder: Said = {
  what: (notes) =>
    `${texts(notes)} ${notes.length > 1 ? 'are' : 'is'} not filled in: fill in, or leave out; machines of one LAN find each other`,
  fix: () => null,
};
const overruled: Said = {
  what: (notes) => `${some(notes.map(({ key, as }) => `${key} by ${as}`))}, which stands in this file too`,
  fix: () => 'leave one of the two out; what is in force: autogit-node config',
};

/** How it stands before the sentence; a key that is obeyed needs no warning. */
const heads: Record<Exclude<Fate, 'obeyed'>, string> = {
  mesh: 'decided by the mesh: ',
  'not yet': 'not yet: ',
  placeholder: '',
  overruled: 'overruled: ',
};

const saidOf = (fate: Exclude<Fate, 'obeyed'>, topic: Topic): Said | undefined =>
  fate === 'placeholder' ? placeholder : fate === 'overruled' ? overruled : (fate === 'mesh' ? mesh : notYet)[topic];

function linesOf(notes: Group): string {
  const lines = unique(notes.map(({ line }) => String(line)));
  if (lines.length < 3) return `line${lines.length > 1 ? 's' : ''} ${listed(lines)}`;
  return `lines ${lines[0]} to ${lines.at(-1)}`;
}

/** Every key of the file that is not simply obeyed, in as few sentences as there are kinds. */
export function warningsOf(notes: readonly Note[]): SettingsWarning[] {
  const groups = new Map<string, [Note, ...Note[]]>();
  for (const note of notes) {
    if (note.fate === 'obeyed') continue;
    const kind = note.fate === 'mesh' || note.fate === 'not yet' ? `${note.fate} ${note.topic}` : note.fate;
    const group = groups.get(kind);
    if (group) group.push(note);
    else groups.set(kind, [note]);
  }
  return [...groups.values()].map((group) => {
    const { fate, topic } = group[0];
    const said = saidOf(fate as Exclude<Fate, 'obeyed'>, topic);
    const what = said?.what(group, notes) ?? some(group.map(({ key }) => key));
    return {
      sentence: `${linesOf(group)}: ${heads[fate as Exclude<Fate, 'obeyed'>]}${what}`,
      fix: said?.fix(group) ?? null,
      keys: group.map(({ key }) => key),
    };
  });
}
