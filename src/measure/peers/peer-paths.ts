import { opened, type PathSpec } from '../paths.ts';
import { joinByRecipe } from './join-by-recipe.ts';
import { RECIPES } from './recipes.ts';

/**
 * What people use instead, each between the same machines as an Isthmus. Only without offloads: the programs send every packet by itself
 * anyway, and the kernel's tunnels are represented with offloads by VXLAN.
 */
export const PEER_PATHS: readonly PathSpec[] = RECIPES.map((recipe) => ({
  name: recipe.name,
  kind: recipe.kind,
  withOffloads: false,
  lacks: () => recipe.lacks(),
  open: () => opened((scene) => joinByRecipe(scene, recipe)),
}));
