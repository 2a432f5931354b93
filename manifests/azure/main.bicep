// A k3s server with the identity that Tidegate uses, and a scale set of agents
// that starts empty. main.json is the same as a template for Resource Manager.

@description('Region of everything.')
param location string = resourceGroup().location
@description('Beginning of every name.')
param prefix string = 'tidegate'
param adminUsername string = 'azureuser'
param sshPublicKey string
@description('Addresses that reach the server by SSH, such as 203.0.113.7/32; the server then has a public address. Empty: it has none.')
param sshFrom string = ''
@description('Release of k3s on all machines, such as v1.33.1+k3s1.')
param k3sVersion string
@secure()
@description('With it servers join; it is worth the whole cluster.')
param serverToken string
@secure()
@description('With it agents join, and nothing else.')
param agentToken string
@allowed(['SystemAssigned', 'UserAssigned'])
param identity string = 'SystemAssigned'
@description('A role of the actions that Tidegate uses, and no more, instead of Virtual Machine Contributor.')
param customRole bool = true
@description('Lets Tidegate read VM sizes and quotas, which are a matter of the subscription.')
param subscriptionReader bool = false
param serverSize string = 'Standard_D2s_v5'
param agentSize string = 'Standard_D8s_v5'
@description('What a node on a machine of agentSize has for pods; Tidegate goes by it until the first one has joined.')
param agentCpu string = '8'
param agentMemory string = '29Gi'
@minValue(0)
@description('How many agents there are at this moment: 0 at first. With another number Azure would add machines, or choose some to destroy.')
param currentAgents int
@minValue(0)
param minAgents int = 0
param maxAgents int = 10
@description('Cheaper machines that Azure may take back.')
param spot bool = false

var serverName = '${prefix}-server'
var agentsName = '${prefix}-agents'
var serverAddress = '10.20.0.4'
var virtualMachineContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '9980e02c-c2be-4d73-94e8-173b1dc7cf3c')
var serverCloudInit = loadTextContent('cloud-init/server.yaml')
var agentCloudInit = loadTextContent('cloud-init/agent.yaml')
// What Azure announces a deletion with; Spot machines have no such notice.
var terminateNotification = {
  terminateNotificationProfile: {
    enable: true
    notBeforeTimeout: 'PT5M'
  }
}

resource userAssigned 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = if (identity == 'UserAssigned') {
  name: prefix
  location: location
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: prefix
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: ['10.20.0.0/16']
    }
    subnets: [
      {
        name: 'machines'
        properties: {
          addressPrefix: '10.20.0.0/20'
          // The machines fetch k3s and images.
          defaultOutboundAccess: true
        }
      }
    ]
  }
}

// Inbound it is the only rule but for Azure's own, which let in the network's
// machines and nobody else.
resource serverAccess 'Microsoft.Network/networkSecurityGroups@2024-05-01' = if (!empty(sshFrom)) {
  name: serverName
  location: location
  properties: {
    securityRules: [
      {
        name: 'ssh'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: sshFrom
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '22'
        }
      }
    ]
  }
}

resource publicAddress 'Microsoft.Network/publicIPAddresses@2024-05-01' = if (!empty(sshFrom)) {
  name: serverName
  location: location
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource serverInterface 'Microsoft.Network/networkInterfaces@2024-05-01' = {
  name: serverName
  location: location
  properties: {
    ipConfigurations: [
      {
        name: 'private'
        properties: {
          privateIPAllocationMethod: 'Static'
          privateIPAddress: serverAddress
          subnet: {
            id: network.properties.subnets[0].id
          }
          publicIPAddress: empty(sshFrom) ? null : {
            id: publicAddress.id
          }
        }
      }
    ]
    networkSecurityGroup: empty(sshFrom) ? null : {
      id: serverAccess.id
    }
  }
}

resource server 'Microsoft.Compute/virtualMachines@2024-07-01' = {
  name: serverName
  location: location
  identity: identity == 'UserAssigned' ? {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${userAssigned.id}': {}
    }
  } : {
    type: 'SystemAssigned'
  }
  properties: {
    hardwareProfile: {
      vmSize: serverSize
    }
    osProfile: {
      computerName: serverName
      adminUsername: adminUsername
      customData: base64(replace(replace(replace(serverCloudInit, 'SERVER_TOKEN', serverToken), 'AGENT_TOKEN', agentToken), 'K3S_VERSION', k3sVersion))
      linuxConfiguration: {
        disablePasswordAuthentication: true
        ssh: {
          publicKeys: [
            {
              path: '/home/${adminUsername}/.ssh/authorized_keys'
              keyData: sshPublicKey
            }
          ]
        }
      }
    }
    storageProfile: {
      imageReference: {
        publisher: 'Canonical'
        offer: 'ubuntu-24_04-lts'
        sku: 'server'
        version: 'latest'
      }
      osDisk: {
        createOption: 'FromImage'
      }
    }
    networkProfile: {
      networkInterfaces: [
        {
          id: serverInterface.id
        }
      ]
    }
  }
}

resource agents 'Microsoft.Compute/virtualMachineScaleSets@2024-07-01' = {
  name: agentsName
  location: location
  tags: {
    tidegate: 'enabled'
    'tidegate-min': string(minAgents)
    'tidegate-max': string(maxAgents)
    'k8s.io_cluster-autoscaler_node-template_resources_cpu': agentCpu
    'k8s.io_cluster-autoscaler_node-template_resources_memory': agentMemory
  }
  sku: {
    name: agentSize
    capacity: currentAgents
  }
  properties: {
    orchestrationMode: 'Uniform'
    overprovision: false
    singlePlacementGroup: false
    upgradePolicy: {
      mode: 'Manual'
    }
    virtualMachineProfile: {
      priority: spot ? 'Spot' : 'Regular'
      evictionPolicy: spot ? 'Delete' : null
      scheduledEventsProfile: spot ? null : terminateNotification
      osProfile: {
        computerNamePrefix: agentsName
        adminUsername: adminUsername
        customData: base64(replace(replace(replace(agentCloudInit, 'SERVER_ADDRESS', serverAddress), 'AGENT_TOKEN', agentToken), 'K3S_VERSION', k3sVersion))
        linuxConfiguration: {
          disablePasswordAuthentication: true
          ssh: {
            publicKeys: [
              {
                path: '/home/${adminUsername}/.ssh/authorized_keys'
                keyData: sshPublicKey
              }
            ]
          }
        }
      }
      storageProfile: {
        imageReference: {
          publisher: 'Canonical'
          offer: 'ubuntu-24_04-lts'
          sku: 'server'
          version: 'latest'
        }
        osDisk: {
          createOption: 'FromImage'
        }
      }
      networkProfile: {
        networkInterfaceConfigurations: [
          {
            name: 'private'
            properties: {
              primary: true
              ipConfigurations: [
                {
                  name: 'private'
                  properties: {
                    subnet: {
                      id: network.properties.subnets[0].id
                    }
                  }
                }
              ]
            }
          }
        ]
      }
    }
  }
  dependsOn: [server]
}

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (customRole) {
  name: guid(resourceGroup().id, prefix, 'role')
  properties: {
    // No two roles of a tenant may have the same name.
    roleName: '${prefix} machines (${resourceGroup().name} ${uniqueString(resourceGroup().id)})'
    description: 'What Tidegate does to scale sets.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachineScaleSets/read'
          'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read'
          'Microsoft.Compute/virtualMachineScaleSets/write'
          'Microsoft.Compute/virtualMachineScaleSets/delete/action'
          'Microsoft.Compute/virtualMachineScaleSets/restart/action'
          'Microsoft.Compute/virtualMachineScaleSets/reimage/action'
          'Microsoft.Compute/virtualMachineScaleSets/deallocate/action'
          'Microsoft.Compute/virtualMachineScaleSets/start/action'
          'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/write'
          'Microsoft.Network/virtualNetworks/subnets/join/action'
        ]
      }
    ]
  }
}

module assignment 'role-assignment.bicep' = {
  name: '${prefix}-role-assignment'
  params: {
    roleDefinitionId: customRole ? role.id : virtualMachineContributor
    principalId: identity == 'UserAssigned' ? userAssigned.properties.principalId : server.identity.principalId
  }
}

module reader 'subscription-reader.bicep' = if (subscriptionReader) {
  // A subscription's deployments of one name are all in one region.
  name: '${prefix}-reader-${uniqueString(resourceGroup().id)}'
  scope: subscription()
  params: {
    principalId: identity == 'UserAssigned' ? userAssigned.properties.principalId : server.identity.principalId
  }
}

@description('For tidegate run --identity-client-id; empty for the system-assigned identity.')
output identityClientId string = identity == 'UserAssigned' ? userAssigned.properties.clientId : ''

@description('The server\'s public address, if it has one.')
output serverAddress string = empty(sshFrom) ? '' : publicAddress.properties.ipAddress
