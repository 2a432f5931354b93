// A role on the resource group. It is a module because the identity's ID, which
// is known only once the server is there, can be part of a name here and not in
// the template that makes the server. Deployed again this is the same assignment,
// and a server made anew, whose identity is another one, gets one of its own.
param roleDefinitionId string
param principalId string

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, roleDefinitionId)
  properties: {
    roleDefinitionId: roleDefinitionId
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
