import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  GraphQLError,
  type GraphQLField,
  type GraphQLSchema,
  getArgumentValues,
  getNamedType,
  getVariableValues,
  isCompositeType,
  isInterfaceType,
  isObjectType,
  type SelectionSetNode,
} from 'graphql';

/** What a query may cost, by who asks (contract §2). */
export const mostComplex = { nobody: 200, somebody: 250, admin: 300 } as const;

const pageSize = 100;

interface Counting {
  schema: GraphQLSchema;
  fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  variables: Record<string, unknown>;
}

/**
 * As GitLab counts (contract §2): 1 for a field and what it has below it, and for a list that is given in pages 1 % more for
 * each row that a page may have, so that a page of 100 counts twice. The document has been found valid.
 */
export function complexityOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operationName: string | null,
  given: Record<string, unknown>,
): number {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const node of document.definitions) if (node.kind === 'FragmentDefinition') fragments.set(node.name.value, node);
  const operation = document.definitions.find(
    (node) => node.kind === 'OperationDefinition' && (operationName === null || node.name?.value === operationName),
  );
  const root = schema.getQueryType();
  if (operation?.kind !== 'OperationDefinition' || !root) return 0;
  // Of wrong variables the execution tells.
  const variables = getVariableValues(schema, operation.variableDefinitions ?? [], given).coerced ?? {};
  return countOf([operation.selectionSet], root, { schema, fragments, variables });
}

function countOf(sets: readonly SelectionSetNode[], type: GraphQLCompositeType, counting: Counting): number {
  const named = new Map<string, { nodes: FieldNode[]; on: GraphQLCompositeType }>();
  for (const set of sets) collect(set, type, counting, named);
  return [...named.values()].reduce((sum, { nodes, on }) => sum + fieldCount(nodes, on, counting), 0);
}

/** Fields of one name in the answer are one field. */
function collect(
  { selections }: SelectionSetNode,
  on: GraphQLCompositeType,
  counting: Counting,
  named: Map<string, { nodes: FieldNode[]; on: GraphQLCompositeType }>,
): void {
  for (const node of selections) {
    if (node.kind === 'Field') {
      const key = (node.alias ?? node.name).value;
      named.set(key, { nodes: [...(named.get(key)?.nodes ?? []), node], on });
      continue;
    }
    const fragment = node.kind === 'FragmentSpread' ? counting.fragments.get(node.name.value) : node;
    if (fragment === undefined) continue;
    const type = counting.schema.getType(fragment.typeCondition?.name.value ?? '');
    collect(fragment.selectionSet, isCompositeType(type) ? type : on, counting, named);
  }
}

const fieldOf = (type: GraphQLCompositeType, name: string): GraphQLField<unknown, unknown> | undefined =>
  isObjectType(type) || isInterfaceType(type) ? type.getFields()[name] : undefined;

function fieldCount(nodes: readonly FieldNode[], on: GraphQLCompositeType, counting: Counting): number {
  const [first] = nodes;
  const field = first && fieldOf(on, first.name.value);
  // `__typename` and its like.
  if (first === undefined || field === undefined) return 1;
  const type = getNamedType(field.type);
  const sets = nodes.flatMap(({ selectionSet }) => (selectionSet ? [selectionSet] : []));
  const own = 1 + (isCompositeType(type) ? countOf(sets, type, counting) : 0);
  return type.name.endsWith('Connection') ? Math.trunc(own * (1 + rowsOf(field, first, counting) / 100)) : own;
}

/** How many rows a page may have. */
function rowsOf(field: GraphQLField<unknown, unknown>, node: FieldNode, { variables }: Counting): number {
  try {
    const { first, last } = getArgumentValues(field, node, variables);
    return Math.min(pageSize, ...[first, last].filter((count) => typeof count === 'number'));
  } catch (error) {
    // Of wrong arguments the execution tells.
    if (error instanceof GraphQLError) return pageSize;
    throw error;
  }
}
