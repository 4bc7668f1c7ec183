import { spawnSync } from 'node:child_process';
import type { TableName, Tables } from '../../gitlab-bridge/practice/records.ts';
import { hideSecrets, showSecrets } from './secrets-file.ts';

/** Debian's own `psql` is a program in Perl that looks for this one, and takes three times its processor for each write. */
const program = '/opt/gitlab/embedded/bin/psql';

/**
 * Takes the place of the practice GitLab's journal in the image: the same records, as rows of the image's own PostgreSQL,
 * committed before a request is answered. Tokens are encrypted by the secrets file, as GitLab's are. Through psql, and
 * waited for: a stand-in may be slow, and lies about nothing.
 */
const psql = (sql: string): string => {
  const args = [
    '-XqAt',
    '-v',
    'ON_ERROR_STOP=1',
    '-h',
    '/var/opt/gitlab/postgresql',
    '-U',
    'gitlab',
    '-d',
    'gitlabhq_production',
  ];
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    input: sql,
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (status !== 0) throw new Error(`PostgreSQL: ${error?.message ?? stderr.trim()}`);
  return stdout;
};

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

export class Journal {
  readonly #tables = new Map<TableName, Map<number, unknown>>();
  readonly #next = new Map<string, number>();
  readonly #dirty = new Map<string, string>();

  constructor(_folder: string) {
    const rows = psql(
      "select encode(convert_to(record::text, 'UTF8'), 'hex') || ' ' || name || ' ' || id from records;",
    );
    for (const row of rows.split('\n')) {
      const [hex = '', name = '', id = ''] = row.split(' ');
      if (name === '') continue;
      const record: unknown = JSON.parse(Buffer.from(hex, 'hex').toString('utf8'));
      if (name === 'next')
        for (const [table, at] of Object.entries(record as object)) this.#next.set(table, at as number);
      else this.#map(name as TableName).set(Number(id), showSecrets(record));
    }
  }

  table<T extends TableName>(name: T): ReadonlyMap<number, Tables[T]> {
    return this.#map(name) as ReadonlyMap<number, Tables[T]>;
  }

  newId(name: TableName): number {
    const id = this.#next.get(name) ?? 1;
    this.#next.set(name, id + 1);
    this.#dirty.set('next 0', this.#put('next', 0, Object.fromEntries(this.#next)));
    return id;
  }

  put<T extends TableName>(name: T, record: Tables[T]): void {
    this.#map(name).set(record.id, record);
    this.#dirty.set(`${name} ${record.id}`, this.#put(name, record.id, hideSecrets(record)));
  }

  drop(name: TableName, id: number): void {
    this.#map(name).delete(id);
    this.#dirty.set(`${name} ${id}`, `delete from records where name = ${literal(name)} and id = ${id};`);
  }

  flush(): void {
    if (this.#dirty.size === 0) return;
    const statements = [...this.#dirty.values()];
    psql(`begin;\n${statements.join('\n')}\ncommit;\n`);
    this.#dirty.clear();
  }

  close(): void {
    this.flush();
  }

  #put(name: string, id: number, record: unknown): string {
    return `insert into records values (${literal(name)}, ${id}, ${literal(JSON.stringify(record))}) on conflict (name, id) do update set record = excluded.record;`;
  }

  #map(name: TableName): Map<number, unknown> {
    const map = this.#tables.get(name) ?? new Map<number, unknown>();
    this.#tables.set(name, map);
    return map;
  }
}
