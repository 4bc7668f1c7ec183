import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { commands } from '../node/cli/command-table.ts';
import { flags, flagsOf, spellingOf } from '../node/settings/settings-table.ts';
import { JobRow } from '../protocol/job-rows.ts';
import { StatusSnapshot } from '../protocol/status.ts';
import { commandFault, commandsIn } from './docs-commands.ts';
import { copiesMutants } from './sim/copies/mutants.ts';
import { mutants } from './sim/mutants/table.ts';

/** docs/ is what the project holds itself to; this holds docs/ to the code, and the code's citations to docs/. */
const root = fileURLToPath(new URL('..', import.meta.url));
const listed = (...patterns: string[]): string[] =>
  execFileSync('git', ['ls-files', '-co', '--exclude-standard', ...patterns], { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((file) => file !== '' && existsSync(join(root, file)));
const texts = new Map<string, string>();
function text(file: string): string {
  const known = texts.get(file) ?? readFileSync(join(root, file), 'utf8');
  texts.set(file, known);
  return known;
}
const pages = listed('*.md');
const code = listed('*.ts', '*.tsx', '*.mjs', '*.cjs', '*.service');
const manual = pages.filter((file) => file.startsWith('docs/') || file === 'README.md');

const withoutFences = (page: string): string => page.replace(/^( *)```[\s\S]*?^\1```/gm, '');
const headings = (file: string): string[] =>
  [...withoutFences(text(file)).matchAll(/^#{1,6} +(.+?) *$/gm)].map((match) => match[1] as string);
/** As GitLab and GitHub make an anchor of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}\- _]/gu, '')
    .replaceAll(' ', '-');

/** Sections of a page by the first word of their headings: `L12`, `1.3`, `7`. */
function sections(file: string, level: string): Map<string, string> {
  const found = new Map<string, string>();
  const parts = `\n${withoutFences(text(file))}`.split(new RegExp(`\n(?=#{${level}} )`));
  for (const part of parts.slice(1)) found.set(/^#+ +(\S+?)\.?(?:\s|$)/.exec(part)?.[1] ?? '', part);
  return found;
}
/** A bullet of a rule, wrapped lines included. */
const bullet = (section: string, name: string): string =>
  new RegExp(`^- ${name}: ([\\s\\S]*?)(?=^- |^$|(?![\\s\\S]))`, 'm')
    .exec(section)?.[1]
    ?.replaceAll(/\s+/g, ' ')
    .trim() ?? '';
const spans = (markdown: string): string[] => [...markdown.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] as string);

const rules = sections('docs/safety.md', '3');
const inForce = [...rules.keys()].filter((rule) => /^[LJH]\d/.test(rule));

describe('docs/safety.md', () => {
  it('has L1 to L17, J1 to J10 and H1 to H10', () => {
    const all = (letter: string, last: number): string[] => Array.from({ length: last }, (_, i) => `${letter}${i + 1}`);
    expect([...rules.keys()].sort()).toEqual([...all('L', 17), ...all('J', 10), ...all('H', 10)].sort());
  });

  it('has every rule that anything cites', () => {
    const wrong: string[] = [];
    for (const file of [...code, ...pages])
      for (const [cited] of text(file).matchAll(/\b[LJH]\d{1,2}\b/g))
        if (!rules.has(cited)) wrong.push(`${file}: ${cited}`);
    expect(wrong).toEqual([]);
  });

  it.each(inForce)('%s names where it is kept, and tests that cite it', (rule) => {
    const section = rules.get(rule) as string;
    for (const part of ['Rule', 'Why', 'Code', 'Tests']) expect(bullet(section, part), part).not.toBe('');
    const cites = (file: string): boolean => new RegExp(`\\b${rule}\\b`).test(text(file));
    const kept = spans(bullet(section, 'Code'));
    expect(kept.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(kept.some(cites), `none of ${kept.join(', ')} cites ${rule}`).toBe(true);
    const tests = spans(bullet(section, 'Tests'));
    expect(tests.filter((file) => !file.startsWith('test/') || !existsSync(join(root, file)) || !cites(file))).toEqual(
      [],
    );
    expect(tests.some((file) => file.endsWith('.test.ts'))).toBe(true);
  });

  it.each(inForce)('%s lists its planted bugs', (rule) => {
    const said = bullet(rules.get(rule) as string, 'Planted bugs').replace(/\.$/, '');
    const planted = [...mutants, ...copiesMutants]
      .filter((mutant) => mutant.rule === rule)
      .map((mutant) => mutant.name);
    expect(said === '' ? [] : said.split('; ').sort()).toEqual(planted.sort());
  });

  const figures = [
    ...text('docs/safety.md').matchAll(/^\|[^|]*\|([^|]*)\| *(\d+)(?: ms)? *\| *`([^`]+)` `([^`]+)` *\|$/gm),
  ];
  it('has a table of figures', () => expect(figures.length).toBeGreaterThan(20));
  it.each(figures.map(([, what, value, file, path]) => [what?.trim(), value, file, path]))(
    '%s: %s, as %s says',
    async (_what, value, file, path) => {
      expect(await constant(file as string, path as string)).toBe(Number(value));
    },
  );
});

/** Names of all fields of a schema, those of its parts included. */
function fieldsOf(schema: z.ZodType): string[] {
  const walk = (part: unknown): string[] => {
    if (part === null || typeof part !== 'object') return [];
    const { properties = {}, ...rest } = part as { properties?: Record<string, unknown> };
    return [...Object.keys(properties), ...[...Object.values(properties), ...Object.values(rest)].flatMap(walk)];
  };
  return walk(z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }));
}

/** All words that a field of a schema may say. */
const valuesOf = (schema: z.ZodType): string[] =>
  [...JSON.stringify(z.toJSONSchema(schema, { unrepresentable: 'any' })).matchAll(/"enum":\[([^\]]*)\]/g)].flatMap(
    (match) => JSON.parse(`[${match[1]}]`),
  );

/** A constant of the code: imported where it is exported, read where it is not. */
async function constant(file: string, path: string): Promise<unknown> {
  const [name = '', ...keys] = path.split('.');
  const source = text(file);
  if (new RegExp(`^export const ${name}\\b`, 'm').test(source)) {
    let value: unknown = ((await import(pathToFileURL(join(root, file)).href)) as Record<string, unknown>)[name];
    for (const key of keys) value = (value as Record<string, unknown>)[key];
    return value;
  }
  const said = new RegExp(`^const ${name} = ([\\d_]+);`, 'm').exec(source)?.[1];
  return said === undefined ? `no such constant in ${file}` : Number(said.replaceAll('_', ''));
}

describe('what code and pages cite', () => {
  const cited = (pattern: RegExp): [string, string][] =>
    [...code, ...pages].flatMap((file) =>
      [...text(file).matchAll(pattern)].map((match): [string, string] => [file, match[1] as string]),
    );
  it('DESIGN §n is a section of docs/architecture.md', () => {
    const known = sections('docs/architecture.md', '2');
    const all = [...cited(/\bDESIGN,? §?(\d+)/g), ...cited(/architecture\.md`? §(\d+)/g)];
    expect(all.length).toBeGreaterThan(5);
    expect(all.filter(([, section]) => !known.has(section))).toEqual([]);
  });
  it('contract §n.m is a section of docs/gitlab-contract.md', () => {
    const known = sections('docs/gitlab-contract.md', '2,3');
    const all = cited(/\bcontract(?:\.md)?`? \(?§(\d+(?:\.\d+)?)/g);
    expect(all.length).toBeGreaterThan(5);
    expect(all.filter(([, section]) => !known.has(section))).toEqual([]);
  });
  it('libp2p.md §n is a section of docs/libp2p.md', () => {
    const known = sections('docs/libp2p.md', '2,3');
    const all = cited(/\blibp2p\.md`? §(\d+(?:\.\d+)?)/g);
    expect(all.filter(([, section]) => !known.has(section))).toEqual([]);
  });
  it('what trials found is cited as docs/findings.md has it', () => {
    const trials = sections('docs/findings.md', '2');
    const known = new Set<string>();
    for (const [trial, section] of trials)
      for (const [, head = ''] of section.matchAll(/^- ([^:]+):/gm))
        for (const number of head.split(', ')) known.add(`${trial} ${number}`);
    for (const [trial, section] of trials)
      for (const [number] of section.matchAll(/\b[A-Z]\d+b(?=:)/g)) known.add(`${trial} ${number}`);
    const names = [...trials.keys()].join('|');
    const all = cited(new RegExp(`((?:${names}) [A-Z]?\\d+b?(?:(?:, |-)[A-Z]?\\d+b?)*)(?![\\w.])`, 'g')).flatMap(
      ([file, text]) => {
        const [trial, ...rest] = text.split(' ');
        const numbers = rest.join(' ').split(/, |-/);
        return numbers.map((number): [string, string] => [file, `${trial} ${number}`]);
      },
    );
    expect(all.length).toBeGreaterThan(20);
    expect(all.filter(([, one]) => !known.has(one))).toEqual([]);
  });
  it('nothing cites a document that is not here', () => {
    const wrong = cited(/((?:\.\.\/)?\bshared\/[\w.-]+\.md|\btrials\/[\w.-]+\.md)/g);
    expect(wrong).toEqual([]);
  });
});

describe('docs/glossary.md', () => {
  const words = [...text('docs/glossary.md').matchAll(/^- .*$/gm)].flatMap(([line]) =>
    [...line.matchAll(/\*\*([^*]+)\*\*/g)].map((match) => match[1] as string),
  );
  const sources = code.filter((file) => /^(?:protocol|scheduler|gitlab-bridge|node)\/.*\.ts$/.test(file));
  const bare = sources.map((file) => text(file).replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*/g, ''));

  const givenUp = [...text('docs/glossary.md').matchAll(/~~(\w+)~~/g)].map((match) => match[1] as string);
  it.each(givenUp)('%s was given up: it is in no name and no sentence of the code', (word) => {
    const used = new RegExp(`(?:\\b${word}|${word.charAt(0).toUpperCase()}${word.slice(1)})s?(?![a-z])`);
    expect(sources.filter((_, index) => used.test(bare[index] as string))).toEqual([]);
  });
  it('has words', () => {
    expect(words.length).toBeGreaterThan(35);
    expect(givenUp.length).toBeGreaterThan(4);
  });
  it.each(words)('%s is a word of the code: in a name that is declared, a field, or a file', (word) => {
    const pascal = word
      .split(/[ -]/)
      .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
      .join('');
    const camel = pascal.charAt(0).toLowerCase() + pascal.slice(1);
    const ends = '(?![a-z])';
    const declared = new RegExp(
      `\\b(?:type|interface|class|const|function) (?:${camel}${ends}|\\w*${pascal}${ends})|\\b${camel}\\??:`,
    );
    const file = new RegExp(`(?:^|[/-])${word.toLowerCase().replaceAll(' ', '-')}(?:[/.-]|$)`);
    expect(bare.some((source) => declared.test(source)) || sources.some((one) => file.test(one))).toBe(true);
  });
});

describe('pages', () => {
  it('every link leads somewhere', () => {
    const wrong: string[] = [];
    for (const file of pages)
      for (const [, target = ''] of withoutFences(text(file))
        .replace(/`[^`\n]*`/g, '')
        .matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^(?:https?|mailto):/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const found = path === '' ? file : normalize(join(dirname(file), path));
        if (!existsSync(join(root, found))) wrong.push(`${file}: no file ${target}`);
        else if (anchor !== undefined && !headings(found).map(anchorOf).includes(anchor))
          wrong.push(`${file}: no heading ${target}`);
      }
    expect(wrong).toEqual([]);
  });

  it('docs/README.md links to every page of docs/', () => {
    const index = text('docs/README.md');
    const missing = manual.filter((file) => /^docs\/(?!README)/.test(file) && !index.includes(`](${file.slice(5)})`));
    expect(missing).toEqual([]);
  });

  it('every file that docs/ names exists', () => {
    const wrong: string[] = [];
    for (const file of manual)
      for (const span of spans(withoutFences(text(file)))) {
        const isPath = /^(?:protocol|scheduler|gitlab-bridge|node|test|deploy|docs|\.ci)\/[\w./-]*$/.test(span);
        if (isPath && !existsSync(join(root, span))) wrong.push(`${file}: ${span}`);
      }
    expect(wrong).toEqual([]);
  });

  it('every file of code that a page names exists', () => {
    const known = new Set([...code, ...listed('*.cjs', '*.md')].map((file) => file.split('/').at(-1)));
    const wrong = pages.flatMap((file) =>
      spans(withoutFences(text(file)))
        .filter((span) => /^[\w./-]+\.(?:ts|mjs|cjs)$/.test(span) && !known.has(span.split('/').at(-1)))
        .filter(
          (span) =>
            !span.startsWith('dist/') &&
            ![
              'agent.cjs',
              'autogit-node.cjs',
              'gate.cjs',
              'forward.cjs',
              'metrics.cjs',
              'notices.cjs',
              'practice.cjs',
              'watchdog.cjs',
            ].includes(span),
        )
        .map((span) => `${file}: ${span}`),
    );
    expect(wrong).toEqual([]);
  });

  it('README.md is one screen', () => {
    expect(text('README.md').split('\n').length).toBeLessThanOrEqual(75);
  });

  it('every page that code names exists', () => {
    const named = code.flatMap((file) =>
      [...text(file).matchAll(/\bdocs\/[\w-]+\.md\b/g)].map(([page]) => [file, page]),
    );
    expect(named.filter(([, page]) => !existsSync(join(root, page as string)))).toEqual([]);
  });

  it("a newcomer's way: each stop is in its file", () => {
    const stops = [...text('docs/hacking.md').matchAll(/^\| *\d+ *\| *`([^`]+)` *\| *`([^`]+)` *\|/gm)];
    expect(stops.length).toBeGreaterThan(20);
    const wrong = stops
      .filter(
        ([, file, name]) => !existsSync(join(root, file as string)) || !text(file as string).includes(name as string),
      )
      .map(([, file, name]) => `${file} has no ${name}`);
    expect(wrong).toEqual([]);
  });
});

describe('commands', () => {
  it('every command that a page tells people to type is one', () => {
    const wrong = pages.flatMap((file) => {
      const { typed, named } = commandsIn(text(file));
      const faults = [
        ...typed.map((line) => commandFault(line, true)),
        ...named.map((line) => commandFault(line, false)),
      ];
      return faults.filter((fault) => fault !== null).map((fault) => `${file}: ${fault}`);
    });
    expect(wrong).toEqual([]);
  });

  it('docs/interface.md has every field of status and jobs, and no other', () => {
    const said = new Set<string>();
    for (const [, block = ''] of text('docs/interface.md').matchAll(/^```json\n([\s\S]*?)^```/gm))
      for (const [, name = ''] of block.matchAll(/"(\w+)":/g)) said.add(name);
    expect([...said].sort()).toEqual([...new Set([...fieldsOf(StatusSnapshot), ...fieldsOf(JobRow)])].sort());
    const values = [StatusSnapshot, JobRow].flatMap((schema) => valuesOf(schema));
    expect(values.filter((value) => !new RegExp(`\\b${value}\\b`).test(text('docs/interface.md')))).toEqual([]);
  });

  it('docs/interface.md has every command and flag, and no other', () => {
    const page = text('docs/interface.md');
    const rows = [...page.matchAll(/^\| *`autogit-node ([^`]+)` *\|[^|]*\|([^|]*)\|$/gm)];
    const said = rows.map(([, usage = '', cell = '']) => {
      const own = spans(cell).map((span) => /^--[\w-]+/.exec(span)?.[0] ?? span);
      return `${usage} ${own.sort().join(' ')}`.trim();
    });
    const real = commands
      .filter(({ path }) => !path.startsWith('__'))
      .map(({ path, args = '' }) =>
        `${path} ${args} ${flagsOf(path).map(spellingOf).sort().join(' ')}`.replaceAll(/ +/g, ' ').trim(),
      );
    expect(said.sort()).toEqual(real.sort());
    const everywhere = flags.filter((flag) => flag.commands.includes('*')).map(spellingOf);
    expect(everywhere.filter((flag) => !page.includes(`\`${flag}`))).toEqual([]);
  });
});
