import type { z } from 'zod';

type Look = (value: unknown) => boolean;
type Json = Readonly<Record<string, unknown>>;
/** As zod describes a schema or a check, as far as it is read here. */
interface Def {
  type?: string;
  check?: string;
  format?: string;
  coerce?: boolean;
  checks?: readonly { _zod: { def: Def } }[];
  minimum?: number;
  maximum?: number;
  value?: number;
  inclusive?: boolean;
  pattern?: RegExp;
  mode?: string;
  catchall?: z.ZodType;
  innerType?: z.ZodType;
  element?: z.ZodType;
  keyType?: z.ZodType;
  valueType?: z.ZodType;
  shape?: Readonly<Record<string, z.ZodType>>;
  options?: readonly z.ZodType[];
  discriminator?: string;
  unionFallback?: boolean;
  values?: readonly unknown[];
  entries?: Readonly<Record<string, unknown>>;
}
const defOf = (schema: z.ZodType): Def => schema._zod.def as unknown as Def;

/** Of what is not looked at here: zod says it. */
const unsure: Look = () => false;
const looks = new WeakMap<z.ZodType, Look>();

/**
 * Whether a value of JSON is of the form already, so that zod would give back the same: nothing is wrong with it, nothing
 * is taken away and nothing filled in. False says nothing; then zod is asked. Most of what members say is as it should be,
 * and zod copies it and makes two objects for each string in it: that took longer than to parse the JSON.
 */
export function fits(schema: z.ZodType, value: unknown): boolean {
  return lookOf(schema)(value);
}

function lookOf(schema: z.ZodType): Look {
  const known = looks.get(schema);
  if (known) return known;
  const made = lookOfDef(defOf(schema));
  looks.set(schema, made);
  return made;
}

function lookOfDef(def: Def): Look {
  const look = kinds[def.type ?? '']?.(def) ?? unsure;
  const checks = (def.checks ?? []).map(({ _zod }) => checkOf(_zod.def));
  if (def.coerce || checks.includes(unsure)) return unsure;
  const [first, second] = checks;
  if (!first) return look;
  if (!second) return (value) => look(value) && first(value);
  return (value) => look(value) && checks.every((check) => check(value));
}

/** By zod's name of the type. What is not in it is always unsure. */
const kinds: Readonly<Record<string, (def: Def) => Look>> = {
  string: ({ format }) => (format === undefined ? (value) => typeof value === 'string' : unsure),
  number: ({ format }) => {
    if (format === undefined) return Number.isFinite;
    return format === 'safeint' ? Number.isSafeInteger : unsure;
  },
  boolean: () => (value) => typeof value === 'boolean',
  null: () => (value) => value === null,
  literal: ({ values = [] }) => oneOf(values),
  enum: ({ entries = {} }) => oneOf(Object.values(entries)),
  nullable: ({ innerType }) => {
    const look = lookOf(innerType as z.ZodType);
    return (value) => value === null || look(value);
  },
  array: ({ element }) => {
    const look = lookOf(element as z.ZodType);
    return (value) => {
      if (!Array.isArray(value)) return false;
      for (const one of value) if (!look(one)) return false;
      return true;
    };
  },
  record: lookOfRecord,
  object: lookOfObject,
  union: lookOfUnion,
};

function oneOf(values: readonly unknown[]): Look {
  const [first] = values;
  if (values.length === 1) return (value) => value === first;
  const all = new Set(values);
  return (value) => all.has(value);
}

function checkOf({ check, minimum = 0, maximum = 0, value: bound = 0, inclusive, format, pattern }: Def): Look {
  switch (check) {
    case 'min_length':
      return (value) => (value as string).length >= minimum;
    case 'max_length':
      return (value) => (value as string).length <= maximum;
    case 'greater_than':
      return inclusive ? (value) => (value as number) >= bound : (value) => (value as number) > bound;
    case 'less_than':
      return inclusive ? (value) => (value as number) <= bound : (value) => (value as number) < bound;
    case 'string_format':
      // One that goes on from where it was says another thing each time.
      return format === 'regex' && pattern && !pattern.global && !pattern.sticky
        ? (value) => pattern.test(value as string)
        : unsure;
    default:
      return unsure;
  }
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function lookOfRecord({ keyType, valueType, mode }: Def): Look {
  const [key, entry] = [lookOf(keyType as z.ZodType), lookOf(valueType as z.ZodType)];
  // Of a list of keys zod wants every one.
  if (mode !== undefined || defOf(keyType as z.ZodType).type !== 'string') return unsure;
  return (value) => {
    if (!isObject(value)) return false;
    for (const name in value) if (name === '__proto__' || !key(name) || !entry(value[name])) return false;
    return true;
  };
}

function lookOfObject({ shape = {}, catchall }: Def): Look {
  const isLoose = catchall !== undefined && defOf(catchall).type === 'unknown';
  if (catchall !== undefined && !isLoose) return unsure;
  const fields = new Map<string, { look: Look; isNeeded: boolean }>();
  for (const [name, schema] of Object.entries(shape)) {
    const { type, innerType } = defOf(schema);
    const isNeeded = type !== 'optional';
    fields.set(name, { look: lookOf(isNeeded ? schema : (innerType as z.ZodType)), isNeeded });
  }
  const needed = [...fields.values()].filter(({ isNeeded }) => isNeeded).length;
  return (value) => {
    if (!isObject(value)) return false;
    let found = 0;
    for (const name in value) {
      const field = fields.get(name);
      if (field === undefined) {
        if (isLoose && name !== '__proto__') continue;
        return false;
      }
      if (!field.look(value[name])) return false;
      if (field.isNeeded) found += 1;
    }
    return found === needed;
  };
}

function lookOfUnion({ options = [], discriminator, unionFallback }: Def): Look {
  if (discriminator === undefined) {
    // The first that takes it decides, and one of objects may take some of it away.
    const isPlain = options.every((option) =>
      ['string', 'number', 'boolean', 'null'].includes(defOf(option).type ?? ''),
    );
    const all = options.map(lookOf);
    return isPlain && !all.includes(unsure) ? (value) => all.some((look) => look(value)) : unsure;
  }
  const byName = new Map<unknown, Look>();
  for (const option of options) {
    const { values = [] } = defOf(defOf(option).shape?.[discriminator] as z.ZodType);
    for (const name of values) byName.set(name, lookOf(option));
  }
  return (value) => isObject(value) && (byName.get(value[discriminator]) ?? unsure)(value) && !unionFallback;
}
