import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { classSizes, limits } from './sizes.mjs';

/** The tree is the architecture (DESIGN §3), and this guards it. */
const root = fileURLToPath(new URL('..', import.meta.url));
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts', '*.tsx', '*.mjs'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '');
const text = (file: string): string => readFileSync(join(root, file), 'utf8');
const under = (...folders: string[]): string[] =>
  files.filter((file) => folders.some((folder) => file.startsWith(`${folder}/`)));

const mayImport: Record<string, string[]> = {
  protocol: ['protocol'],
  scheduler: ['protocol', 'scheduler'],
  'gitlab-bridge': ['protocol', 'gitlab-bridge'],
  node: ['protocol', 'scheduler', 'gitlab-bridge', 'node'],
};

const imports = (source: string): string[] =>
  [...source.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] as string);

const practice = 'gitlab-bridge/practice/';
const knowsPractice = new Set(['node/cli/local-commands.ts', 'node/demo/demo.ts']);

const uses = (file: string, name: string): number => text(file).match(new RegExp(`\\b${name}\\b`, 'g'))?.length ?? 0;

/** Names that a file imports, or takes out of what it loads later. */
function importedNames(source: string): Set<string> {
  const lists = [
    ...source.matchAll(/\b(?:import|export)\s+(?:type\s+)?\{([^}]*)\}\s*from/g),
    ...source.matchAll(/\bconst \{([^}]*)\} =\s*(?:\(?await )?import\(/g),
    ...source.matchAll(/\bimport\([^)]*\)\.then\(\(\{([^}]*)\}\)/g),
  ].flatMap(([, list = '']) => list.split(','));
  const isLoadedLater = /\b(?:import|require)\('/.test(source);
  const taken = isLoadedLater ? [...source.matchAll(/\.(\w+)/g)].map(([, name]) => name as string) : [];
  return new Set([...lists.map((one) => /^\s*(?:type\s+)?(\w+)/.exec(one)?.[1] ?? ''), ...taken]);
}

describe('tidy', () => {
  it('imports go down only, and the middle floors never meet', () => {
    const wrong: string[] = [];
    for (const [floor, allowed] of Object.entries(mayImport))
      for (const file of under(floor))
        for (const path of imports(text(file))) {
          if (!path.startsWith('.')) continue;
          const folder = normalize(join(dirname(file), path)).split('/')[0] as string;
          if (!allowed.includes(folder)) wrong.push(`${file} imports ${path}`);
        }
    expect(wrong).toEqual([]);
  });

  it('no import goes in a circle, not even for a type', () => {
    const sources = under(...Object.keys(mayImport)).filter((file) => /\.tsx?$/.test(file));
    const targets = new Map(
      sources.map((file) => [
        file,
        [...text(file).matchAll(/^(?:import|export) [^;]*?from '(\.[^']+)'/gm)].map((match) =>
          normalize(join(dirname(file), match[1] as string)),
        ),
      ]),
    );
    const done = new Set<string>();
    const circles: string[] = [];
    const walk = (file: string, way: readonly string[]): void => {
      const seenAt = way.indexOf(file);
      if (seenAt >= 0) circles.push([...way.slice(seenAt), file].join(' -> '));
      if (seenAt >= 0 || done.has(file)) return;
      for (const target of targets.get(file) ?? []) walk(target, [...way, file]);
      done.add(file);
    };
    for (const file of sources) walk(file, []);
    expect(circles).toEqual([]);
  });

  it('the practice GitLab stands by itself: it knows none of ours but the errors, and only the demo and its command know it', () => {
    const wrong: string[] = [];
    for (const file of under('protocol', 'scheduler', 'gitlab-bridge', 'node')) {
      const isPractice = file.startsWith(practice);
      for (const path of imports(text(file))) {
        if (!path.startsWith('.')) continue;
        const target = normalize(join(dirname(file), path));
        const mayKnow = isPractice
          ? target.startsWith(practice) || target === 'protocol/errors.ts'
          : !target.startsWith(practice) || knowsPractice.has(file);
        if (!mayKnow) wrong.push(`${file} imports ${path}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('the pure floors know no clock, no chance, no waiting and no machine', () => {
    const banned: [RegExp, string][] = [
      [/\bDate\b/, 'Date'],
      [/\bMath\.random\b/, 'Math.random'],
      [/\bset(?:Timeout|Interval|Immediate)\b/, 'a timer'],
      [/\basync\b|\bawait\b/, 'async'],
      [/\bprocess\./, 'process'],
      [/from 'node:/, 'node:'],
      [/\bperformance\b/, 'performance'],
    ];
    const wrong: string[] = [];
    for (const file of under('protocol', 'scheduler'))
      for (const [pattern, name] of banned) {
        const code = text(file).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
        if (pattern.test(code)) wrong.push(`${file} uses ${name}`);
      }
    expect(wrong).toEqual([]);
  });

  it('network and enrolment wait by a clock that nobody sets: only what comes from another machine has a date', () => {
    const wrong = under('node/network', 'node/enrol').filter((file) => /\bDate\b/.test(text(file)));
    expect(wrong).toEqual([]);
  });

  it('the sentence of an error is asked of sentenceOf: the message alone is empty where several dials failed, or has an arrow that reads as a fix', () => {
    // Programs of their own, in which nothing of the table of errors shall lie.
    const small = new Set([
      ...['node/starter/starter-process.ts', 'node/watchdog/watchdog.ts'],
      ...['node/hosting/gate/gate-process.ts', 'node/runs/packing.ts'],
    ]);
    const read = /(?<!\.test\()\(\w+ as Error\)\.message|instanceof Error \? \w+\.message/;
    const wrong = under('protocol', 'scheduler', 'gitlab-bridge', 'node').filter(
      (file) => !file.startsWith(practice) && !small.has(file) && read.test(text(file)),
    );
    expect(wrong).toEqual([]);
  });

  it('only clean-spawn starts processes: no child inherits the store', () => {
    const wrong = under('node', 'gitlab-bridge').filter((file) => {
      if (file === 'node/clean-spawn.ts' || file.startsWith('gitlab-bridge/practice/')) return false;
      return /import \{(?! *type [^,}]*\})[^}]*\} from 'node:child_process'/.test(text(file));
    });
    expect(wrong).toEqual([]);
  });

  it('no file is longer than 400 lines', () => {
    const long = files
      .map((file) => ({ file, lines: text(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > limits.file)
      .map(({ file, lines }) => `${file}: ${lines}`);
    expect(long).toEqual([]);
  });

  it('no class is longer than 300 lines', () => {
    const long = under(...Object.keys(mayImport)).flatMap((file) =>
      classSizes(text(file))
        .filter(({ lines }) => lines > limits.class)
        .map(({ name, lines }) => `${file}: ${name} ${lines}`),
    );
    expect(long).toEqual([]);
  });

  it('no function is longer than 70 lines', () => {
    const long: string[] = [];
    for (const file of under('protocol', 'scheduler', 'gitlab-bridge', 'node')) {
      const lines = text(file).split('\n');
      for (const [index, line] of lines.entries()) {
        const opens =
          /^(\s*)(?:export )?(?:default )?(?:async )?(?:function\b|(?:(?:public|private|protected|static|override|async|get|set)\s+)*[#\w]+\s*(?:<[^>]*>)?\([^;]*\)\s*(?::[^={]+)?\{$|const \w+ = (?:async )?\([^;]*=>\s*\{$)/.exec(
            line,
          );
        if (!opens || /^\s*(?:if|for|while|switch|catch|describe|it)\b/.test(line)) continue;
        const indent = opens[1] as string;
        const end = lines.findIndex(
          (other, at) => at > index && other.startsWith(`${indent}}`) && other.length - indent.length <= 3,
        );
        if (end - index > limits.function) long.push(`${file}:${index + 1} ${end - index} lines`);
      }
    }
    expect(long).toEqual([]);
  });

  it('nothing is exported that no other file imports, and nothing is there that only a test reaches', () => {
    // What tests read by its name: the figures of docs/safety.md.
    const figures = new Set([...text('docs/safety.md').matchAll(/`(\w+)(?:\.[\w.]+)?` \|$/gm)].map(([, name]) => name));
    const wrong: string[] = [];
    const named = new Map([...files, 'deploy/bin.cjs'].map((file) => [file, importedNames(text(file))]));
    for (const file of under(...Object.keys(mayImport)))
      for (const [, kind, name = ''] of text(file).matchAll(
        /^export (?:async |abstract )*(const|function|class|interface|type)\*? (\w+)/gm,
      )) {
        const others = [...named.keys()].filter((other) => other !== file && named.get(other)?.has(name));
        const isValue = kind !== 'interface' && kind !== 'type';
        const isOnlyTested = isValue && others.every((other) => other.startsWith('test/')) && uses(file, name) === 1;
        if ((others.length === 0 && !figures.has(name)) || isOnlyTested) wrong.push(`${file}: ${name}`);
      }
    expect(wrong).toEqual([]);
  });

  it('no two files of one name: whoever goes to a file by its name finds one', () => {
    const names = under(...Object.keys(mayImport)).map((file) => file.split('/').at(-1) as string);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('no two types of one name are exported: whoever goes to a type by its name finds one', () => {
    const names = under(...Object.keys(mayImport))
      .filter((file) => !file.startsWith(practice))
      .flatMap((file) =>
        [...text(file).matchAll(/^export (?:abstract )?(?:interface|type|class) (\w+)/gm)].map(([, name]) => name),
      );
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('nobody imports the tests, and no drawer is called utils', () => {
    const wrong = files.filter((file) => /\/(?:utils?|helpers?|types|index)\.ts$/.test(file));
    expect(wrong).toEqual([]);
  });

  it('every event of the log stands in node/README.md, and no other', () => {
    const said = new Set<string>();
    const wrong: string[] = [];
    for (const file of under('scheduler', 'node')) {
      const code = text(file);
      for (const [, name] of code.matchAll(/\bevent: '([^']+)'/g)) said.add(name as string);
      // A name that is put together here could not be listed.
      for (const [call] of code.matchAll(/\b(?:note|\.event)\((?:turn, )?\{\s*event(?!: ').*/g))
        wrong.push(`${file}: ${call}`);
    }
    expect(wrong).toEqual([]);
    const section = text('node/README.md').split('\n## Events\n')[1]?.split('\n## ')[0] ?? '';
    const rows = section.split('\n').flatMap((line) => line.match(/^\|(.*?)\|/)?.[1] ?? []);
    const listed = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] as string));
    expect([...listed].sort()).toEqual([...said].sort());
  });
});
